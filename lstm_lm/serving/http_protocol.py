"""HTTP/1.1 over httptools, with limits on what one connection may queue and how long it may take."""

import asyncio
from collections import deque
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_UNPARSED_BYTES = 65_536
PARSE_CHUNK_BYTES = 1024
MAX_RECEIVE_SECONDS = 30.0
MAX_SEND_SECONDS = 60.0


class _PipelineFlowControl(FlowControl):
    """Flow control that does not read while requests are queued. uvicorn resumes after each response."""

    def __init__(self, transport: asyncio.Transport, pipeline: deque[Any]) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    @override
    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


class BoundedHttpTools(HttpToolsProtocol):
    """uvicorn's httptools protocol with limits for untrusted clients: ``uvicorn --http MODULE:CLASS``.

    Pipelining: received bytes are parsed ``PARSE_CHUNK_BYTES`` at a time, and neither parsing nor reading continues
    while a request is queued behind another one. A connection therefore queues at most the requests in one such chunk.

    Length: httptools buffers headers, trailers and chunk extensions without limit. The connection is closed after
    ``MAX_UNPARSED_BYTES`` in which no header section, no message and no part of a body was completed.

    Time: the connection is closed if a request, including the first one, takes more than ``MAX_RECEIVE_SECONDS`` to
    arrive, or if the client leaves responses unread for ``MAX_SEND_SECONDS``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ws_protocol_class = None  # the service has no WebSockets, and their protocol would bypass the limits
        self._received = bytearray()
        self._current_cycle: RequestResponseCycle | None = None
        self._num_unparsed = 0
        self._made_progress = False
        self._receive_timeout: asyncio.TimerHandle | None = None
        self._send_timeout: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _PipelineFlowControl(transport, self.pipeline)
        self._start_receive_timeout()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_receive_timeout()
        self._cancel_send_timeout()
        if self._current_cycle is not None:  # uvicorn notifies only the request that was parsed last
            self._current_cycle.disconnected = True
            self._current_cycle.message_event.set()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        self._start_receive_timeout()  # also for bytes that do not start a message, such as empty lines
        self._parse_received()

    def _parse_received(self) -> None:
        while self._received and not self.pipeline and not self.transport.is_closing():
            part = bytes(self._received[:PARSE_CHUNK_BYTES])
            del self._received[:PARSE_CHUNK_BYTES]
            self._parse(part)

    def _parse(self, data: bytes) -> None:
        self._made_progress = False
        super().data_received(data)
        self._num_unparsed = 0 if self._made_progress else self._num_unparsed + len(data)
        if self._num_unparsed <= MAX_UNPARSED_BYTES or self.transport.is_closing():
            return
        if getattr(self.cycle, "response_complete", True):  # the first request of a connection has no cycle yet
            self.send_400_response(f"The head of the request is longer than {MAX_UNPARSED_BYTES} bytes.")
        else:  # inside a body, or before the response to an earlier request
            self.transport.close()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_receive_timeout()  # its first bytes may arrive with the end of another request

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

    @override
    def on_response_complete(self) -> None:
        self._current_cycle = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        if self._receive_timeout is not None:  # the rest of that request could not arrive while reading was paused
            self._cancel_receive_timeout()
            self._start_receive_timeout()
        self._parse_received()

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        # close() would wait until the client has read the rest
        self._send_timeout = self.loop.call_later(MAX_SEND_SECONDS, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_send_timeout()

    def _start_receive_timeout(self) -> None:
        if self._receive_timeout is None:
            self._receive_timeout = self.loop.call_later(MAX_RECEIVE_SECONDS, self._on_receive_timeout)

    def _cancel_receive_timeout(self) -> None:
        if self._receive_timeout is not None:
            self._receive_timeout.cancel()
            self._receive_timeout = None

    def _on_receive_timeout(self) -> None:
        self._receive_timeout = None
        if self.flow.read_paused:  # the client cannot send the rest
            self._start_receive_timeout()
        else:
            self.transport.close()

    def _cancel_send_timeout(self) -> None:
        if self._send_timeout is not None:
            self._send_timeout.cancel()
            self._send_timeout = None
