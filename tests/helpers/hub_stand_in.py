"""A stand-in for the Hugging Face hub on this machine: models in memory, for the real client."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"


class HubStandIn(ThreadingHTTPServer):
    """Repositories by name, each with the files of its commits; it answers what uploads and snapshots ask for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}

    def commit(self, model: str, changes: dict[str, bytes]) -> str:
        """Commit changed files to the main branch, and return the commit's name."""
        files = self.models[model]["main"] | changes
        commit = _commit_name(files)
        self.models[model] |= {"main": files, commit: files}
        return commit

    @property
    def url(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub_stand_in() -> Iterator[HubStandIn]:
    """A running stand-in."""
    with HubStandIn() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _commit_name(files: dict[str, bytes]) -> str:
    digest = hashlib.sha1()
    for path in sorted(files):
        digest.update(path.encode() + files[path])
    return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubStandIn

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "sign in"})
            return
        parts = urlsplit(self.path).path.strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            request = json.loads(body)
            name = "/".join(filter(None, (request.get("organization"), request["name"])))
            if name in self.server.models:
                self._answer(409, {"error": "exists", "url": f"{self.server.url}/{name}"})
                return
            self.server.models[name] = {"main": {}}
            self._answer(200, {"url": f"{self.server.url}/{name}"})
            return
        if parts == ["api", "validate-yaml"]:  # the header of a model card
            self._answer(200, {"errors": [], "warnings": []})
            return
        name, action = "/".join(parts[2:4]), parts[4]
        if action == "preupload":
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self._answer(200, {"files": [file | {"shouldIgnore": False} for file in files]})
        elif action == "commit":
            changed = [line["value"] for line in map(json.loads, body.splitlines()) if line["key"] == "file"]
            commit = self.server.commit(name, {file["path"]: base64.b64decode(file["content"]) for file in changed})
            self._answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit})
        else:
            self._answer(404, {"error": self.path})

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            name, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
        elif "resolve" in parts:  # USER/NAME/resolve/REVISION/FILE
            name, revision = "/".join(parts[:2]), parts[3]
        else:
            self._answer(404, {"error": self.path})
            return
        files = self.server.models.get(name, {}).get(revision)
        if files is None:
            missing = "RevisionNotFound" if name in self.server.models else "RepoNotFound"
            self._answer(404, {"error": missing}, {"X-Error-Code": missing})
        elif parts[0] == "api" and len(parts) > 4 and parts[4] == "tree":
            self._answer(
                200,
                [
                    {"type": "file", "path": path, "size": len(content), "oid": _commit_name({path: content})}
                    for path, content in files.items()
                ],
            )
        elif parts[0] == "api":
            siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
            self._answer(200, {"id": name, "sha": _commit_name(files), "siblings": siblings})
        elif (content := files.get("/".join(parts[4:]))) is None:
            self._answer(
                404, {"error": "EntryNotFound"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": _commit_name(files)}
            )
        else:
            headers = {"X-Repo-Commit": _commit_name(files), "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
            self._answer(200, content, headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
