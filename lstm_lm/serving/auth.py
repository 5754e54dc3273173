"""API key authentication.

A program sends the key with each request. A browser sends it once, in the login form, and gets a cookie that holds a
digest of the key. The cookie is HttpOnly, so scripts cannot read it, and SameSite=strict, so the browser does not send
it with requests from other sites.
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
from lstm_lm.serving.paths import VERSION_PREFIX

OPEN_PATHS = frozenset(prefix + path for prefix in ("", VERSION_PREFIX) for path in ("/health", "/ready"))
SIGN_IN_PATH = "/sign-in"
COOKIE = "lstm_lm_session"
MAX_FORM_BYTES = 4096


class APIKeyMiddleware:
    """Requires the API key on every route except ``/health`` and ``/ready``.

    Args:
        app: The wrapped application.
        key: The API key.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()
        self._session = hmac.new(self._key, b"lstm_lm page session", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass authorized requests on; respond with 401 to others."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        # not request.url: before version 1.0, starlette builds it from the client's Host header
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        if path == SIGN_IN_PATH and request.method == "POST":
            await (await self._sign_in(request))(scope, receive, send)
        elif path in OPEN_PATHS or self._has_key(request):
            await self._app(scope, receive, send)
        else:
            await self._unauthorized(request, path)(scope, receive, send)

    def _has_key(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        # compare all three, so that the time does not show which one matches
        matches = [
            _same(bearer, self._key),
            _same(request.headers.get("x-api-key", ""), self._key),
            _same(request.cookies.get(COOKIE, ""), self._session.encode()),
        ]
        return any(matches)

    async def _sign_in(self, request: Request) -> Response:
        """Check the submitted form; respond with the cookie or with the form again."""
        form = bytearray()
        try:
            async for part in request.stream():
                form += part
                if len(form) > MAX_FORM_BYTES:
                    return JSONResponse({"detail": "the form is too long"}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        key = parse_qs(form.decode("latin-1"), encoding="utf-8", errors="replace").get("key", [""])[0]
        root = request.scope.get("root_path", "").rstrip("/")
        if not _same(key, self._key):
            return _login_response("This is not the key of this service. Check it for a missing or extra character.")
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

    def _unauthorized(self, request: Request, path: str) -> Response:
        if path == "/" and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return _login_response("")
        return JSONResponse(
            {"detail": "this service needs an API key; send the header Authorization: Bearer KEY"},
            401,
            headers={"WWW-Authenticate": "Bearer"},
        )


class CrossOriginMiddleware(CORSMiddleware):
    """Allows cross-origin requests that bring the API key, never ones with a visitor's cookie.

    Args:
        app: The wrapped application.
        origins: Allowed origins such as ``https://example.org``; ``*`` allows all.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        super().__init__(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )


def _login_response(problem: str) -> Response:
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
    # digests have one length, so the time does not depend on the key's
    digests = (hashlib.sha256(text).digest() for text in (given.encode("utf-8", "surrogateescape"), expected))
    return hmac.compare_digest(*digests)
