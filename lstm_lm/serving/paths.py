"""The paths and methods that reach a route."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

VERSION_PREFIX = "/v1"
"""Every route has a second path with this prefix, for clients that name the version of an interface."""


class PathMiddleware:
    """Answers ``HEAD`` like ``GET``, without the body, and reads a path that ends in ``/`` without it.

    Args:
        app: The wrapped application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the method and path of a route."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, root = scope["path"], scope.get("root_path", "")
        if path.endswith("/") and len(path) > 1 and path != f"{root}/":
            scope = {**scope, "path": path[:-1]}
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            # an unfinished body stays unfinished: only the bytes are left out
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_head)
