"""HTTP/1.1 over httptools, which is quicker than h11, with bounds on the length of a head and the time of a request."""

import asyncio
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_UNPARSED_BYTES = 65_536
MAX_RECEIVE_SECONDS = 30.0


class BoundedHttpTools(HttpToolsProtocol):
    """uvicorn's protocol over httptools, for a client that may send anything: ``uvicorn --http MODULE:CLASS``.

    The parser keeps a head, a trailer or a chunk's extension as long as it has no end. Here a connection is closed
    once ``MAX_UNPARSED_BYTES`` have come that end no head and no message and bring nothing of a body, or once a request
    has taken ``MAX_RECEIVE_SECONDS`` to arrive, the wait for the first one of a connection included.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = 0
        self._made_progress = False
        self._arrives_by: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_receive_timeout()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_receive_timeout()
        super().connection_lost(exc)

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_receive_timeout()  # it may come in one piece with the end of another

    def _start_receive_timeout(self) -> None:
        if self._arrives_by is None:
            self._arrives_by = self.loop.call_later(MAX_RECEIVE_SECONDS, self.transport.close)

    def _cancel_receive_timeout(self) -> None:
        if self._arrives_by is not None:
            self._arrives_by.cancel()
            self._arrives_by = None

    @override
    def data_received(self, data: bytes) -> None:
        self._made_progress = False
        self._start_receive_timeout()  # what it begins need not be a message
        super().data_received(data)
        self._unparsed = 0 if self._made_progress else self._unparsed + len(data)
        if self._unparsed <= MAX_UNPARSED_BYTES or self.transport.is_closing():
            return
        if getattr(self.cycle, "response_complete", True):  # the first request of a connection has no cycle yet
            self.send_400_response(f"The head of the request is longer than {MAX_UNPARSED_BYTES} bytes.")
        else:  # in the midst of a body or its answer
            self.transport.close()

    @override
    def on_headers_complete(self) -> None:
        self._made_progress = True
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._made_progress = True
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._made_progress = True
        self._cancel_receive_timeout()
        super().on_message_complete()
