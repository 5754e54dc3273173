"""SIGTERM under load: /ready returns 503 in time, and no request fails."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from helpers.service_process import Service, free_port, started, uvicorn_command


@pytest.fixture
def service(tiny_bundle: Path, tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    settings = {"LSTM_LM_BUNDLE": str(tiny_bundle), "LSTM_LM_DRAIN_SECONDS": "4"}
    with started(uvicorn_command(port), port, tmp_path, **settings) as service:
        yield service


def test_sigterm_under_load_drops_no_request(service: Service) -> None:
    url, process = service.url, service.process
    draining = threading.Event()
    completed: list[tuple[int, str]] = []
    failures: list[Exception] = []

    def send_requests(path: str, body: dict[str, object]) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
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
    for _ in range(1000):
        if len(completed) > 10:
            break
        time.sleep(0.01)
    before = len(completed)
    process.send_signal(signal.SIGTERM)
    # poll as a load balancer does
    for _ in range(200):
        ready = httpx.get(f"{url}/ready")
        if ready.status_code == 503:
            break
        time.sleep(0.01)
    assert (ready.status_code, ready.headers["connection"]) == (503, "close")
    assert ready.json()["detail"] == "not ready: shutting down"
    assert httpx.get(f"{url}/health").status_code == 200
    time.sleep(0.3)
    draining.set()
    for client in clients:
        client.join(60)
    process.wait(30)
    assert failures == []
    assert before > 10
    assert len(completed) > before
    assert {status for status, _ in completed} == {200}
    # not for responses that had started before
    assert "close" in {connection for _, connection in completed[before:]}


def test_second_sigterm_ends_the_drain_period(service: Service) -> None:
    url, process = service.url, service.process
    with httpx.Client(base_url=url) as client:
        assert client.get("/health").status_code == 200
    start = time.monotonic()
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    process.wait(10)
    assert time.monotonic() - start < 3.5
