"""Who may use the service: everyone, or whoever has the key.

A program sends the key with each request. A browser sends it once, from the page that asks for it, and gets a cookie:
a digest of the key, which no script can read and which no other site makes the browser send.
"""

import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lstm_lm.serving.login_page import login_page

OPEN_PATHS = frozenset({"/health", "/ready"})
SIGN_IN_PATH = "/sign-in"
COOKIE = "lstm_lm_session"
MAX_FORM_BYTES = 4096


class APIKeyMiddleware:
    """Lets nobody pass without the key, but to ``/health`` and ``/ready``.

    Args:
        app: The application behind it.
        key: The key.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()
        self._session = hmac.new(self._key, b"lstm_lm page session", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        # not request.url, which old versions of starlette build from the client's Host header
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        if path == SIGN_IN_PATH and request.method == "POST":
            await (await self._signed_in(request))(scope, receive, send)
        elif path in OPEN_PATHS or self._has_key(request):
            await self._app(scope, receive, send)
        else:
            await self._refusal(request, path)(scope, receive, send)

    def _has_key(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        # each of them is compared, whatever the ones before said
        found = [
            _same(bearer, self._key),
            _same(request.headers.get("x-api-key", ""), self._key),
            _same(request.cookies.get(COOKIE, ""), self._session.encode()),
        ]
        return any(found)

    async def _signed_in(self, request: Request) -> Response:
        """The answer to the form: the cookie, or the form again."""
        form = bytearray()
        try:
            async for part in request.stream():
                form += part
                if len(form) > MAX_FORM_BYTES:
                    return JSONResponse({"detail": "the form is too long for a key"}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        given = parse_qs(form.decode("latin-1"), encoding="utf-8", errors="replace").get("key", [""])[0]
        root = request.scope.get("root_path", "").rstrip("/")
        if not _same(given, self._key):
            return _asking("This is not the key of this service. Look for a missing or an extra character.")
        response = RedirectResponse(f"{root}/", 303)
        response.set_cookie(
            COOKIE,
            self._session,
            path=root or "/",
            secure=request.scope["scheme"] == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    def _refusal(self, request: Request, path: str) -> Response:
        if path == "/" and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return _asking("")
        return JSONResponse(
            {"detail": "this service needs its API key; send the header Authorization: Bearer KEY"},
            401,
            headers={"WWW-Authenticate": "Bearer"},
        )


class CrossOriginMiddleware(CORSMiddleware):
    """Lets pages of other sites call the service with a key of their own, never with a visitor's cookie.

    Args:
        app: The application behind it.
        origins: The sites, ``https://example.org`` each; ``*`` is every site.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        super().__init__(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["Retry-After"],
        )


def _asking(problem: str) -> Response:
    body, policy = login_page(SIGN_IN_PATH.lstrip("/"), problem)
    headers = {
        "WWW-Authenticate": "Bearer",
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(body, 401, headers=headers)


def _same(given: str, expected: bytes) -> bool:
    # digests, so that not even the length of the key shows in the time
    digests = (hashlib.sha256(text).digest() for text in (given.encode("utf-8", "surrogateescape"), expected))
    return hmac.compare_digest(*digests)
