"""``GET /``, the page that suggests words while a user types, and ``GET /card``, the model card.

Their headers forbid the browser to load anything but this package's files.
"""

import hashlib
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from lstm_lm.serving.browser_client import BrowserClient

FOLDER = Path(__file__).parent / "page"
PAGES = {"/": "index.html", "/card": "card.html"}
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # revalidate each time, so that a page never runs an older release's scripts
    "Cache-Control": "no-cache",
}


def page_routes(client: BrowserClient | None = None) -> APIRouter:
    """The pages and the files that they load.

    Args:
        client: What the page needs to run the model in the browser.
    """
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in TYPES}
    # the client compiles WebAssembly, which a policy allows by this name only
    scripts = "'self' 'wasm-unsafe-eval'" if client else "'self'"
    shared = {name: value.format(scripts=scripts) for name, value in HEADERS.items()}

    def respond(request: Request, name: str, content: bytes) -> Response:
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = shared | {"ETag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[Path(name).suffix], headers=headers)

    @router.get("/")
    async def page(request: Request) -> Response:
        return respond(request, PAGES["/"], files[PAGES["/"]])

    @router.get("/card")
    async def card(request: Request) -> Response:
        return respond(request, PAGES["/card"], files[PAGES["/card"]])

    @router.get("/page/{name}")
    async def page_file(request: Request, name: str) -> Response:
        if name not in files or name in PAGES.values():
            raise HTTPException(404, "no such file")
        return respond(request, name, files[name])

    # not async: these files have megabytes, and their digests would hold up the event loop
    @router.get("/browser/{name}")
    def client_file(request: Request, name: str) -> Response:
        if client is None or name not in client.code:
            raise HTTPException(404, "no such file")
        return respond(request, name, client.code[name])

    @router.get("/bundle/{name}")
    def bundle_file(request: Request, name: str) -> Response:
        if client is None or name not in client.model:
            raise HTTPException(404, "no such file")
        return respond(request, name, client.model[name])

    return router
