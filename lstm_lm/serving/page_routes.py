"""``GET /``: the page to type on. Files of the package alone; the browser is told to load nothing else."""

import hashlib
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
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
    # asked for anew each time, and mostly answered 304: a page never meets the scripts of an older service
    "Cache-Control": "no-cache",
}


def page_routes() -> APIRouter:
    """``/`` and the files that it names."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in TYPES}

    def answer(request: Request, name: str) -> Response:
        content = files[name]
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = HEADERS | {"ETag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[Path(name).suffix], headers=headers)

    @router.get("/")
    async def page(request: Request) -> Response:
        return answer(request, INDEX)

    @router.get("/page/{name}")
    async def page_file(request: Request, name: str) -> Response:
        if name not in files or name == INDEX:
            raise HTTPException(404, "there is no such file")
        return answer(request, name)

    return router
