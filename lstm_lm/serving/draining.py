"""The end of a service that nobody notices: first it says that it will go, then it goes."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Drain:
    """Puts a pause between SIGTERM and what the server does at it, which is to refuse new connections.

    In the pause ``/ready`` says 503 and every answer closes its connection, so that whoever distributes requests sends
    them elsewhere, and no request is on its way into a connection that is being closed. What is in flight after the
    pause is for the server to wait for; uvicorn does. A second SIGTERM ends the pause.

    Args:
        seconds: Length of the pause.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.started = False

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Takes the place of the server's handler while the application runs."""
        # signals belong to the main thread; a server in another one has no handler either
        server_handler = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not callable(server_handler):
            yield
            return
        loop = asyncio.get_running_loop()

        def pause(number: int, frame: FrameType | None) -> None:
            if self.started:
                server_handler(number, frame)
                return
            self.started = True
            loop.call_soon_threadsafe(loop.call_later, self._seconds, server_handler, number, None)

        signal.signal(signal.SIGTERM, pause)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server_handler)


class ClosingMiddleware:
    """Lets every answer close its connection once the drain has begun.

    Args:
        app: The application behind it.
        drain: Says whether it has.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def closing_send(message: Message) -> None:
            if self._drain.started and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, closing_send if scope["type"] == "http" else send)
