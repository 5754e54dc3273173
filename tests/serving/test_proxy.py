"""The service behind a path prefix of a real nginx, which passes the prefix on or strips it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from helpers.service_process import free_port, is_ready, started, wait_until

KEY = "a-long-enough-key"
ROOT = "/apps/keyboard"
CONFIG = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location {root}/ {{
      proxy_pass http://127.0.0.1:{service}{target};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""

nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(nginx is None, reason="nginx is not installed; run `apt-get install nginx-light` as root"),
]


@pytest.fixture(scope="module")
def service_port(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "lstm_lm", "serve", "--model", str(tiny_bundle), "--port", str(port)]
    folder = tmp_path_factory.mktemp("service")
    with started(command, port, folder, LSTM_LM_ROOT_PATH=ROOT, LSTM_LM_API_KEY=KEY, LSTM_LM_DRAIN_SECONDS="0"):
        yield port


@pytest.fixture(scope="module", params=["prefix is passed on", "prefix is stripped"])
def url(request: pytest.FixtureRequest, service_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert nginx is not None
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    target = "" if request.param == "prefix is passed on" else "/"
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, service=service_port, root=ROOT, target=target))
    process = subprocess.Popen([nginx, "-c", config, "-p", folder, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: process.poll() is not None or is_ready(f"http://127.0.0.1:{port}{ROOT}"), folder / "error.log"
        )
        assert process.poll() is None, (folder / "error.log").read_text()
        yield f"http://127.0.0.1:{port}{ROOT}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, verify=False, timeout=60) as client:
        yield client


def test_signing_in_leads_to_the_page_with_a_cookie_of_this_prefix(client: httpx.Client, url: str) -> None:
    form = client.get("/", headers={"Accept": "text/html"})
    assert form.status_code == 401
    action = re.search(r'action="([^"]+)"', form.text)
    assert action is not None
    # a browser resolves the target against the address of the form
    signed_in = client.post(httpx.URL(f"{url}/").join(action[1]), data={"key": KEY})
    assert signed_in.status_code == 303
    assert httpx.URL(f"{url}/").join(signed_in.headers["location"]) == f"{url}/"
    assert f"Path={ROOT};" in signed_in.headers["set-cookie"].replace("path=", "Path=") + ";"
    assert client.get("/").status_code == 200
    assert client.post("/predict", json={"text": "I want to"}).status_code == 200


def test_page_and_docs_load_their_files_below_the_prefix(client: httpx.Client, url: str) -> None:
    client.headers["X-API-Key"] = KEY
    for path in ("/", "/docs"):
        page = client.get(path)
        files = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
        assert files
        for file in files:
            address = httpx.URL(f"{url}{path}").join(file)
            assert address.path.startswith(f"{ROOT}/"), file
            assert client.get(address).status_code == 200, file
    schema = re.search(r"url: '([^']+)'", client.get("/docs").text)
    assert schema is not None
    openapi = client.get(httpx.URL(url).join(schema[1])).json()
    assert [server["url"] for server in openapi["servers"]] == [ROOT, f"{ROOT}/v1"]
    assert client.get("/v1/info").status_code == 200


def test_a_generation_arrives_in_parts(client: httpx.Client) -> None:
    client.headers["X-API-Key"] = KEY
    body = {"text": "the people", "generate": 400, "stream": True, "seed": 1}
    with client.stream("POST", "/generate", json=body) as response:
        assert response.status_code == 200
        parts = [part for part in response.iter_raw() if part]
    assert len(parts) > 2, "nginx collected the events"
    text = b"".join(parts).decode()
    done = json.loads(text.partition("event: done")[2].partition("data: ")[2].splitlines()[0])
    assert (len(done["words"]), done["finish_reason"]) == (400, "length")
