"""SIGTERM under load: /ready returns 503 in time, and no request fails."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from helpers.service_process import Service, free_port, started, uvicorn_command
from helpers.waiting import DEADLINE, wait_until


@contextmanager
def running(bundle: Path, folder: Path, drain_seconds: int) -> Iterator[Service]:
    port = free_port()
    settings = {"LSTM_LM_BUNDLE": str(bundle), "LSTM_LM_DRAIN_SECONDS": str(drain_seconds)}
    with started(uvicorn_command(port), port, folder, **settings) as service:
        yield service


@pytest.fixture
def service(tiny_bundle: Path, tmp_path: Path) -> Iterator[Service]:
    """Its drain period outlasts every test."""
    with running(tiny_bundle, tmp_path, drain_seconds=2 * DEADLINE) as service:
        yield service


def test_sigterm_under_load_drops_no_request(service: Service) -> None:
    url, process = service.url, service.process
    draining = threading.Event()
    completed: list[tuple[int, str]] = []
    failures: list[Exception] = []

    def send_requests(path: str, body: dict[str, object]) -> None:
        with httpx.Client(base_url=url, timeout=DEADLINE) as client:
            while not draining.is_set():
                try:
                    response = client.post(path, json=body)
                    completed.append((response.status_code, response.headers.get("connection", "")))
                    if path == "/generate" and body.get("stream"):
                        assert json.loads(response.text.rsplit("data: ", 1)[1])["words"]
                except Exception as error:
                    failures.append(error)

    loads = [
        ("/predict", {"text": "I want to"}),
        ("/generate", {"text": "the", "generate": 300}),
        ("/generate", {"text": "the", "generate": 300, "stream": True}),
    ]
    clients = [threading.Thread(target=send_requests, args=load) for load in loads * 2]
    for client in clients:
        client.start()
    wait_until(lambda: len(completed) > 10)
    before = len(completed)
    process.send_signal(signal.SIGTERM)
    # poll as a load balancer does
    wait_until(lambda: httpx.get(f"{url}/ready", timeout=DEADLINE).status_code == 503)
    ready = httpx.get(f"{url}/ready", timeout=DEADLINE)
    assert (ready.status_code, ready.headers["connection"]) == (503, "close")
    assert ready.json()["detail"] == "not ready: shutting down"
    assert httpx.get(f"{url}/health", timeout=DEADLINE).status_code == 200
    during = len(completed)
    wait_until(lambda: len(completed) > during + len(clients))
    draining.set()
    for client in clients:
        client.join(DEADLINE)
    assert failures == []
    assert {status for status, _ in completed} == {200}
    # not for responses that had started before
    assert "close" in {connection for _, connection in completed[before:]}
    process.send_signal(signal.SIGTERM)
    process.wait(DEADLINE)


def test_drain_period_ends_by_itself(tiny_bundle: Path, tmp_path: Path) -> None:
    with running(tiny_bundle, tmp_path, drain_seconds=1) as service:
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(DEADLINE)


def test_second_sigterm_ends_the_drain_period(service: Service) -> None:
    service.process.send_signal(signal.SIGTERM)
    # two signals that are pending at once are one
    wait_until(lambda: httpx.get(f"{service.url}/ready", timeout=DEADLINE).status_code == 503)
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(DEADLINE)
