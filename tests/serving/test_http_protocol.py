"""The limits of a connection, and the order of pipelined responses."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from lstm_lm.serving import http_protocol
from lstm_lm.serving.http_protocol import PARSE_CHUNK_BYTES, BoundedHttpTools

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
SHORTEST = b"GET / HTTP/1.1\r\n\r\n"
MAX_QUEUED = PARSE_CHUNK_BYTES // len(SHORTEST) + 1

App = Callable[[Any, Any, Any], Awaitable[None]]


class FakeTransport(asyncio.Transport):
    """Records what is written, and whether the protocol has paused reading."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.reading = asyncio.Event()
        self.reading.set()
        self.closed = asyncio.Event()

    def write(self, data: Any) -> None:
        assert not self.closed.is_set(), "write after close"
        self.written += data

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()

    def close(self) -> None:
        self.closed.set()

    abort = close

    def is_closing(self) -> bool:
        return self.closed.is_set()


def connect(app: App) -> tuple[BoundedHttpTools, FakeTransport]:
    quiet = {"proxy_headers": False, "access_log": False, "log_level": "critical"}
    config = Config(app, http=BoundedHttpTools, timeout_keep_alive=600, **quiet)
    protocol, transport = BoundedHttpTools(config, ServerState(), {}), FakeTransport()
    protocol.connection_made(transport)
    return protocol, transport


async def respond(send: Any, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Responds with path and body: ``[/path:body]``."""
    body = b""
    while (message := await receive()).get("more_body", False):
        body += message["body"]
    await respond(send, b"[" + scope["raw_path"] + b":" + body + message.get("body", b"") + b"]")


def response_bodies(written: bytes | bytearray) -> list[bytes]:
    return [b"[" + part.partition(b"]")[0] for part in bytes(written).split(b"\r\n\r\n[")[1:]]


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The bytes of a request after its first line, and its body."""
    padding = b"X: " + b"a" * draw(st.integers(0, 2 * PARSE_CHUNK_BYTES)) + b"\r\n"
    body = b"b" * draw(st.integers(0, 3 * PARSE_CHUNK_BYTES))
    if not body:
        return padding + b"\r\n", body
    if draw(st.booleans()):
        return padding + b"Content-Length: %d\r\n\r\n%s" % (len(body), body), body
    return padding + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), body


@settings(max_examples=40, deadline=None)
@given(
    sent=st.lists(requests(), min_size=1, max_size=12),
    num_short=st.integers(0, 300),
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=20),
)
def test_pipelined_requests_are_answered_in_order_for_any_chunks(
    sent: list[tuple[bytes, bytes]], num_short: int, sizes: list[int]
) -> None:
    stream = b"".join(b"POST /%d HTTP/1.1\r\n%s" % (number, rest) for number, (rest, _) in enumerate(sent))
    stream += SHORTEST * num_short + HEALTH
    expected = [b"[/%d:%s" % (number, body) for number, (_, body) in enumerate(sent)]
    expected += [b"[/:"] * num_short + [b"[/health:"]

    async def run() -> None:
        protocol, transport = connect(echo)
        start, number = 0, 0
        while start < len(stream):
            await transport.reading.wait()
            size = sizes[number % len(sizes)]
            protocol.data_received(stream[start : start + size])
            assert len(protocol.pipeline) <= MAX_QUEUED
            start, number = start + size, number + 1
        await wait_until(lambda: len(response_bodies(transport.written)) == len(expected))
        assert response_bodies(transport.written) == expected
        # the connection still works
        await transport.reading.wait()
        protocol.data_received(HEALTH)
        await wait_until(lambda: len(response_bodies(transport.written)) == len(expected) + 1)
        assert not transport.is_closing()
        protocol.connection_lost(None)

    asyncio.run(run())


def test_queue_is_bounded_if_the_client_reads_no_responses() -> None:
    async def run() -> None:
        protocol, transport = connect(echo)
        protocol.data_received(HEALTH)
        await wait_until(lambda: bool(transport.written))
        protocol.pause_writing()  # the client has stopped reading
        protocol.data_received(SHORTEST * 1000)
        for _ in range(100):
            await asyncio.sleep(0)
            assert len(protocol.pipeline) <= MAX_QUEUED
            assert not transport.reading.is_set()
        protocol.resume_writing()
        await wait_until(lambda: len(response_bodies(transport.written)) == 1001)
        assert transport.reading.is_set()
        protocol.connection_lost(None)

    asyncio.run(run())


def test_running_request_gets_the_disconnect_while_others_are_queued() -> None:
    disconnected = []

    async def wait_for_disconnect(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            await respond(send, b"[]")
            return
        while (await receive())["type"] != "http.disconnect":
            pass
        disconnected.append(scope["path"])

    async def run() -> None:
        protocol, transport = connect(wait_for_disconnect)
        protocol.data_received(b"".join(HEALTH.replace(b"health", path) for path in (b"first", b"second", b"third")))
        await wait_until(lambda: bool(transport.written))
        transport.close()
        protocol.connection_lost(None)
        await wait_until(lambda: bool(disconnected))
        assert disconnected == ["/second"]

    asyncio.run(run())


def responds_after(event: asyncio.Event) -> Any:
    """An application that responds once ``event`` is set."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await event.wait()
        await respond(send, b"[]")

    return application


def test_receive_timeout_starts_again_after_paused_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_RECEIVE_SECONDS", 0.02)
    may_respond = asyncio.Event()

    async def run() -> None:
        protocol, transport = connect(responds_after(may_respond))
        protocol.data_received(HEALTH * 2 + b"GET /half")
        # reading is paused, so the client cannot send the rest
        await asyncio.sleep(0.1)
        assert not transport.is_closing()
        may_respond.set()
        await transport.closed.wait()
        assert transport.written.count(b"HTTP/1.1 200 OK") == 2
        protocol.connection_lost(None)

    asyncio.run(run())


def test_receive_timeout_covers_neither_the_response_nor_the_wait_for_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_protocol, "MAX_RECEIVE_SECONDS", 0.02)
    may_respond = asyncio.Event()

    async def run() -> None:
        protocol, transport = connect(responds_after(may_respond))
        for _ in range(2):
            transport.written.clear()
            protocol.data_received(HEALTH)
            await asyncio.sleep(0.1)
            assert not transport.is_closing()
            may_respond.set()
            await wait_until(lambda: bool(response_bodies(transport.written)))
            await asyncio.sleep(0.1)
            assert not transport.is_closing()
        protocol.connection_lost(None)

    asyncio.run(run())


def test_connection_is_closed_if_the_client_reads_no_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_SEND_SECONDS", 0.05)

    async def run() -> None:
        protocol, transport = connect(echo)
        protocol.pause_writing()
        protocol.resume_writing()
        await asyncio.sleep(0.1)
        assert not transport.is_closing()
        protocol.pause_writing()
        await transport.closed.wait()
        protocol.connection_lost(None)

    asyncio.run(run())
