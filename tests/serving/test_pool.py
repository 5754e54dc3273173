"""Generation blocks no other request, queues are bounded, and a client that disconnects ends its generation."""

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

VOCABULARY = Vocabulary(["the", "<eos>", "<unk>", "of", "and"], [5, 4, 3, 2, 1])


class SlowBackend:
    """Sleeps in each step, counts steps, and fails on demand."""

    vocab_size = len(VOCABULARY)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.steps = 0
        self.broken = False
        self._lock = threading.Lock()

    def initial_state(self, batch_size: int) -> State:
        return (np.zeros((batch_size, 1), np.float32), np.zeros((batch_size, 1), np.float32))

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        if self.broken:
            raise RuntimeError("broken")
        with self._lock:
            self.steps += 1
        time.sleep(self.seconds)
        return np.zeros((len(input_ids), self.vocab_size), np.float32), state

    def prefill(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        logits, state = self.step(input_ids, state)
        return np.zeros((input_ids.shape[1], 1), np.float32), logits[0], state


def service(backend: SlowBackend, **settings: float) -> FastAPI:
    engine = Engine(backend, VOCABULARY, {"plain": SamplingConfig()}, "plain", prefix_cache_size=1024)
    return build_app(engine, Settings(bundle=Path("unused"), **settings))  # type: ignore[arg-type]


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """A uvicorn server in a thread, on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=BoundedHttpTools, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive()


def generate(url: str, words: int) -> httpx.Response:
    return httpx.post(f"{url}/generate", json={"text": "the", "generate": words}, timeout=60)


def test_health_and_predictions_respond_during_generations_that_share_steps() -> None:
    backend = SlowBackend(0.02)
    with running(service(backend, prefill_threads=1)) as url, ThreadPoolExecutor() as clients:
        long = [clients.submit(generate, url, 100) for _ in range(3)]
        time.sleep(0.3)
        # one connection: on a busy machine httpx may need a second to create a client
        with httpx.Client() as prober:
            prober.get(f"{url}/health")
            for _ in range(10):
                before = time.monotonic()
                assert prober.get(f"{url}/health").status_code == 200
                assert time.monotonic() - before < 1
        assert httpx.get(f"{url}/ready").status_code == 200
        assert httpx.post(f"{url}/predict", json={"text": "the"}, timeout=60).status_code == 200
        assert not any(future.done() for future in long)
        assert all(future.result().status_code == 200 for future in long)
        # three texts in little more steps than one
        assert backend.steps < 150


def test_client_that_disconnects_ends_its_generation() -> None:
    backend = SlowBackend(0.02)
    with running(service(backend, prefill_threads=1)) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/generate", json={"text": "the", "generate": 400}, timeout=0.3)
        time.sleep(0.5)
        after = backend.steps
        time.sleep(0.3)
        assert backend.steps == after < 100


def test_hundred_aborted_streams_leave_none_running() -> None:
    backend = SlowBackend(0.01)

    def read_first_line(url: str) -> None:
        body = {"text": "the", "generate": 500, "stream": True}
        with httpx.stream("POST", f"{url}/generate", json=body, timeout=60) as response:
            assert response.status_code == 200
            next(response.iter_lines())

    with running(service(backend)) as url, ThreadPoolExecutor(20) as clients:
        for done in [clients.submit(read_first_line, url) for _ in range(100)]:
            done.result()
        time.sleep(1)
        after = backend.steps
        metrics = httpx.get(f"{url}/metrics").text
        assert "lstm_lm_generations 0.0" in metrics
        assert "lstm_lm_model_requests 0.0" in metrics
        time.sleep(0.3)
        assert backend.steps == after


def test_texts_beyond_the_largest_batch_take_turns() -> None:
    with running(service(SlowBackend(0.005), max_batch=2)) as url, ThreadPoolExecutor() as clients:
        responses = [clients.submit(generate, url, 20) for _ in range(5)]
        assert [len(response.result().json()["words"]) for response in responses] == [20] * 5


def test_failing_model_ends_every_stream_with_an_error_event() -> None:
    backend = SlowBackend(0.02)
    body = {"text": "the", "generate": 400, "stream": True}
    with running(service(backend)) as url:
        with httpx.stream("POST", f"{url}/generate", json=body, timeout=60) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            backend.broken = True
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
    with (
        running(service(SlowBackend(0.02), prefill_threads=1, max_queue_size=1)) as url,
        ThreadPoolExecutor(8) as clients,
    ):
        responses = [future.result() for future in [clients.submit(generate, url, 30) for _ in range(8)]]
        statuses = sorted(response.status_code for response in responses)
        assert statuses[0] == 200
        assert statuses[-1] == 503
        refused = [response for response in responses if response.status_code == 503]
        assert all(
            response.headers["retry-after"] == "1" and "try again" in response.json()["detail"] for response in refused
        )
        # the slots are free again
        assert generate(url, 1).status_code == 200


def test_not_ready_when_the_model_fails_or_hangs() -> None:
    backend = SlowBackend(0)
    with running(service(backend, ready_seconds=0.2)) as url:
        assert httpx.get(f"{url}/ready").status_code == 200
        backend.broken = True
        assert httpx.get(f"{url}/ready").status_code == 503
        assert httpx.get(f"{url}/health").status_code == 200
        backend.broken = False
        backend.seconds = 0.6
        response = httpx.get(f"{url}/ready")
        assert (response.status_code, response.json()["detail"]) == (503, "not ready: inference took longer than 0.2 s")
        backend.seconds = 0
        time.sleep(0.6)
        assert httpx.get(f"{url}/ready").status_code == 200


def test_generations_leave_slots_for_predictions() -> None:
    with (
        running(service(SlowBackend(0.02), prefill_threads=1, max_queue_size=1)) as url,
        ThreadPoolExecutor() as clients,
    ):
        long = [clients.submit(generate, url, 100) for _ in range(2)]
        time.sleep(0.5)
        assert generate(url, 1).status_code == 503
        assert httpx.post(f"{url}/predict", json={"text": "the"}, timeout=60).status_code == 200
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
    with running(service(SlowBackend(0.1))) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        for name, sent in unfinished.items():
            for first in (b"", health):
                with closing(socket.create_connection(address, timeout=4)) as connection:  # an idle one has 5 s
                    connection.sendall(first)
                    if first:
                        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
                    if sent or not first:
                        connection.sendall(sent)
                        with suppress(ConnectionError):
                            assert connection.recv(65_536) == b"", name
        # the limit applies neither to the response nor to the wait for the next request
        assert generate(url, 10).status_code == 200
        with closing(socket.create_connection(address, timeout=20)) as connection:
            for _ in range(2):
                connection.sendall(health)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
                time.sleep(0.8)
