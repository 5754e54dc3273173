"""HTTP/1.1 over httptools, which is quicker than h11, with the bound on a head that h11 has."""

from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_UNPARSED_BYTES = 65_536


class BoundedHttpTools(HttpToolsProtocol):
    """uvicorn's protocol over httptools, for a client that may send anything: ``uvicorn --http MODULE:CLASS``.

    The parser keeps a head, a trailer or a chunk's extension as long as it has no end. Here a connection is closed
    once ``MAX_UNPARSED_BYTES`` have come that end no head and no message and bring nothing of a body.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = 0
        self._moved_on = False

    @override
    def data_received(self, data: bytes) -> None:
        self._moved_on = False
        super().data_received(data)
        self._unparsed = 0 if self._moved_on else self._unparsed + len(data)
        if self._unparsed <= MAX_UNPARSED_BYTES or self.transport.is_closing():
            return
        if getattr(self.cycle, "response_complete", True):  # the first request of a connection has no cycle yet
            self.send_400_response(f"The head of the request is longer than {MAX_UNPARSED_BYTES} bytes.")
        else:  # in the midst of a body or its answer
            self.transport.close()

    @override
    def on_headers_complete(self) -> None:
        self._moved_on = True
        super().on_headers_complete()

    @override
    def on_body(self, body: bytes) -> None:
        self._moved_on = True
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        self._moved_on = True
        super().on_message_complete()
