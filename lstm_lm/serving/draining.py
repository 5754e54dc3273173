"""Graceful shutdown with a drain period."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Drain:
    """Delays the server's own SIGTERM handler, which refuses new connections, by a drain period.

    During this period every request is still answered, but ``/ready`` returns 503 and each response closes its
    connection, so that a load balancer sends further requests elsewhere and none is lost in a closing connection.
    Afterwards the server finishes the requests in flight, as uvicorn does. A second SIGTERM ends it immediately.

    Args:
        seconds: Length of the drain period.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.started = False

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Replace the server's handler while the application runs."""
        # only the main thread can set signal handlers; a server in another thread has none to replace
        server_handler = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not callable(server_handler):
            yield
            return
        loop = asyncio.get_running_loop()

        def start_drain(number: int, frame: FrameType | None) -> None:
            if self.started:
                server_handler(number, frame)
                return
            self.started = True
            loop.call_soon_threadsafe(loop.call_later, self._seconds, server_handler, number, None)

        signal.signal(signal.SIGTERM, start_drain)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server_handler)


class ClosingMiddleware:
    """Makes every response close its connection once the drain has started.

    Args:
        app: The wrapped application.
        drain: The service's drain.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; once draining, add ``Connection: close``."""

        async def closing_send(message: Message) -> None:
            if self._drain.started and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, closing_send if scope["type"] == "http" else send)
