"""``GET /``, the page that suggests words while a user types, and ``GET /card``, the model card.

Their headers forbid the browser to load anything but this package's files.
"""

import hashlib
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

FOLDER = Path(__file__).parent / "page"
PAGES = {"/": "index.html", "/card": "card.html"}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
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


def page_routes() -> APIRouter:
    """The pages and the files that they load."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in TYPES}

    def respond(request: Request, name: str) -> Response:
        content = files[name]
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = HEADERS | {"ETag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[Path(name).suffix], headers=headers)

    @router.get("/")
    async def page(request: Request) -> Response:
        return respond(request, PAGES["/"])

    @router.get("/card")
    async def card(request: Request) -> Response:
        return respond(request, PAGES["/card"])

    @router.get("/page/{name}")
    async def page_file(request: Request, name: str) -> Response:
        if name not in files or name in PAGES.values():
            raise HTTPException(404, "no such file")
        return respond(request, name)

    return router
