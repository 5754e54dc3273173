"""Generation blocks no other request, queues are bounded, and a client that disconnects ends its generation."""

import math
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from helpers.service_process import JSON_LINE, head
from helpers.waiting import DEADLINE, wait_until
from numpy.typing import NDArray

from lstm_lm.inference.backend import State
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.serving import http_protocol
from lstm_lm.serving.app import build_app
from lstm_lm.serving.http_protocol import BoundedHttpTools
from lstm_lm.serving.pool import ConcurrencyLimiter, OverloadedError
from lstm_lm.serving.settings import Settings
from lstm_lm.text.vocabulary import Vocabulary

# quick to connect: no certificates are loaded
CLIENT = httpx.Client(timeout=DEADLINE, verify=False, limits=httpx.Limits(max_keepalive_connections=0))
VOCABULARY = Vocabulary(["the", "<eos>", "<unk>", "of", "and"], [5, 4, 3, 2, 1])


class GatedBackend:
    """Counts the steps that it lets through, holds back further ones, and fails on demand."""

    vocab_size = len(VOCABULARY)

    def __init__(self) -> None:
        self.steps = 0
        self.broken = False
        self._limit = math.inf
        self._changed = threading.Condition()

    def allow(self, steps: float) -> None:
        """Let so many steps through from now on, in place of what was allowed before."""
        with self._changed:
            self._limit = self.steps + steps
            self._changed.notify_all()

    def initial_state(self, batch_size: int) -> State:
        return (np.zeros((batch_size, 1), np.float32), np.zeros((batch_size, 1), np.float32))

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        with self._changed:
            assert self._changed.wait_for(lambda: self.steps < self._limit, DEADLINE)
            self.steps += 1
        if self.broken:
            raise RuntimeError("broken")
        return np.zeros((len(input_ids), self.vocab_size), np.float32), state

    def last_features(self, state: State) -> NDArray[np.float32]:
        return state[0]

    def prefill(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        num_words = input_ids.shape[1]
        return np.zeros((num_words, 1), np.float32), np.zeros(self.vocab_size, np.float32), state


def service(backend: GatedBackend, **settings: float) -> FastAPI:
    engine = Engine(backend, VOCABULARY, {"plain": SamplingConfig()}, "plain", prefix_cache_size=1024)
    return build_app(engine, Settings(bundle=Path("unused"), **settings))  # type: ignore[arg-type]


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """A uvicorn server in a thread, on a free port. It keeps idle connections open."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=BoundedHttpTools, log_level="warning", timeout_keep_alive=2 * DEADLINE)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
        listener.close()
    assert not thread.is_alive()


def generate(url: str, words: int) -> httpx.Response:
    return CLIENT.post(f"{url}/generate", json={"text": "the", "generate": words})


def predict(url: str) -> httpx.Response:
    return CLIENT.post(f"{url}/predict", json={"text": "of"})


def gauge(url: str, name: str) -> int:
    metrics = CLIENT.get(f"{url}/metrics").text
    return int(float(metrics.split(f"\nlstm_lm_{name} ")[1].split()[0]))


def wait_for_gauge(url: str, name: str, value: int) -> None:
    wait_until(lambda: gauge(url, name) == value, f"{name} never became {value}")


def test_health_and_predictions_respond_during_generations_that_share_steps() -> None:
    backend = GatedBackend()
    with running(service(backend, prefill_threads=1)) as url, ThreadPoolExecutor() as clients:
        backend.allow(0)
        long = [clients.submit(generate, url, 100) for _ in range(3)]
        wait_for_gauge(url, "model_requests", 3)
        while gauge(url, "generations") < 3:
            backend.allow(1)
        assert CLIENT.get(f"{url}/health").status_code == 200
        prediction = clients.submit(predict, url)
        wait_for_gauge(url, "model_requests", 4)
        while gauge(url, "model_requests") == 4:
            backend.allow(1)
        assert prediction.result().status_code == 200
        assert not any(future.done() for future in long)
        backend.allow(math.inf)
        assert all(future.result().status_code == 200 for future in long)
        # three texts in little more steps than one
        assert backend.steps < 150


def test_client_that_disconnects_ends_its_generation() -> None:
    backend = GatedBackend()
    body = b'{"text": "the", "generate": 400}'
    request = head("/generate", JSON_LINE, f"Content-Length: {len(body)}") + body
    with running(service(backend, prefill_threads=1)) as url:
        backend.allow(0)
        with closing(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))) as connection:
            connection.sendall(request)
            wait_for_gauge(url, "model_requests", 1)
            while not gauge(url, "generations"):
                backend.allow(1)
        wait_for_gauge(url, "model_requests", 0)
        before = backend.steps
        backend.allow(math.inf)
        wait_for_gauge(url, "generations", 0)
        assert backend.steps <= before + 1


def test_hundred_aborted_streams_leave_none_running() -> None:
    backend = GatedBackend()

    def read_first_line(url: str) -> None:
        body = {"text": "the", "generate": 500, "stream": True}
        with CLIENT.stream("POST", f"{url}/generate", json=body) as response:
            assert response.status_code == 200
            next(response.iter_lines())

    with running(service(backend)) as url, ThreadPoolExecutor(20) as clients:
        backend.allow(0)
        streams = [clients.submit(read_first_line, url) for _ in range(100)]
        while not all(stream.done() for stream in streams):
            backend.allow(1)
            time.sleep(0.001)
        for stream in streams:
            stream.result()
        backend.allow(0)
        wait_for_gauge(url, "model_requests", 0)
        before = backend.steps
        backend.allow(math.inf)
        wait_for_gauge(url, "generations", 0)
        # no more than the batches that were queued
        assert backend.steps <= before + 5


def test_texts_beyond_the_largest_batch_take_turns() -> None:
    with running(service(GatedBackend(), max_batch=2)) as url, ThreadPoolExecutor() as clients:
        responses = [clients.submit(generate, url, 20) for _ in range(5)]
        assert [len(response.result().json()["words"]) for response in responses] == [20] * 5


def test_failing_model_ends_every_stream_with_an_error_event() -> None:
    backend = GatedBackend()
    body = {"text": "the", "generate": 400, "stream": True}
    with running(service(backend)) as url:
        backend.allow(1)
        with CLIENT.stream("POST", f"{url}/generate", json=body) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            backend.broken = True
            backend.allow(math.inf)
            # the service closes the connection after its last event
            received = []
            with suppress(httpx.RemoteProtocolError):
                received.extend(lines)
        assert "event: error" in received
        assert 'data: {"detail":"generation failed; try again"}' in received
        assert generate(url, 5).status_code == 500
        backend.broken = False
        assert generate(url, 5).status_code == 200


def test_requests_beyond_the_limit_get_503_with_retry_after() -> None:
    backend = GatedBackend()
    with running(service(backend, prefill_threads=1, max_queue_size=1)) as url, ThreadPoolExecutor(8) as clients:
        backend.allow(0)
        responses = [clients.submit(generate, url, 30) for _ in range(8)]
        wait_until(lambda: sum(response.done() for response in responses) == 6)
        refused = [response.result() for response in responses if response.done()]
        assert [response.status_code for response in refused] == [503] * 6
        assert all(
            response.headers["retry-after"] == "1" and "try again" in response.json()["detail"] for response in refused
        )
        backend.allow(math.inf)
        assert sorted(response.result().status_code for response in responses) == [200] * 2 + [503] * 6
        # the slots are free again
        assert generate(url, 1).status_code == 200


def test_not_ready_when_the_model_fails_or_hangs() -> None:
    backend = GatedBackend()
    with running(service(backend, ready_seconds=0.2)) as url, httpx.Client(base_url=url, timeout=DEADLINE) as client:

        def is_ready() -> bool:  # a busy machine may take longer than 0.2 s
            return client.get("/ready").status_code == 200

        wait_until(is_ready)
        backend.broken = True
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        backend.broken = False
        backend.allow(0)
        response = client.get("/ready")
        assert (response.status_code, response.json()["detail"]) == (503, "not ready: inference took longer than 0.2 s")
        backend.allow(math.inf)
        wait_until(is_ready)


def test_generations_leave_slots_for_predictions() -> None:
    backend = GatedBackend()
    with running(service(backend, prefill_threads=1, max_queue_size=1)) as url, ThreadPoolExecutor() as clients:
        backend.allow(0)
        long = [clients.submit(generate, url, 100) for _ in range(2)]
        wait_for_gauge(url, "model_requests", 2)
        assert generate(url, 1).status_code == 503
        prediction = clients.submit(predict, url)
        wait_for_gauge(url, "model_requests", 3)
        while gauge(url, "model_requests") == 3:
            backend.allow(1)
        assert prediction.result().status_code == 200
        assert not any(future.done() for future in long)
        backend.allow(math.inf)
        assert all(future.result().status_code == 200 for future in long)


def test_slots_are_released() -> None:
    limiter = ConcurrencyLimiter(2)
    with limiter.slot(), limiter.slot(), pytest.raises(OverloadedError), limiter.slot():
        pass
    with limiter.slot():
        assert limiter.in_use == 1
    assert limiter.in_use == 0


def test_unfinished_request_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_RECEIVE_SECONDS", 0.5)
    health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    unfinished = {
        "nothing": b"",
        "half a head": b"GET /health HTTP/1.1\r\nHost",
        "half a body": head("/predict", JSON_LINE, "Content-Length: 100") + b"{",
        "an empty line": b"\r\n",
    }
    with running(service(GatedBackend())) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        for name, sent in unfinished.items():
            for first in (b"", health):
                if not sent and first:
                    continue  # an idle connection stays open
                with closing(socket.create_connection(address, timeout=DEADLINE)) as connection:
                    connection.sendall(first)
                    received = b""
                    while first and not received.endswith(b'{"status":"ok"}'):  # it may arrive in two parts
                        received += connection.recv(65_536)
                    connection.sendall(sent)
                    with suppress(ConnectionError):
                        assert connection.recv(65_536) == b"", name
