"""SIGTERM under load: whoever looks at /ready goes elsewhere in time, and nobody else notices."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest


@pytest.fixture
def service(tiny_bundle: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LSTM_LM_")}
    command = [sys.executable, "-m", "uvicorn", "--factory", "lstm_lm.serving:create_app", "--port", str(port)]
    settings = {"LSTM_LM_BUNDLE": str(tiny_bundle), "LSTM_LM_DRAIN_SECONDS": "1.5"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=kept | settings, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def test_sigterm_under_load_drops_no_request(service: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = service
    draining = threading.Event()
    answered: list[tuple[int, str]] = []
    failures: list[Exception] = []

    def keep_asking(path: str, body: dict[str, object]) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not draining.is_set():
                try:
                    answer = client.post(path, json=body)
                    answered.append((answer.status_code, answer.headers.get("connection", "")))
                    if path == "/generate" and body.get("stream"):
                        assert json.loads(answer.text.rsplit("data: ", 1)[1])["words"]
                except Exception as error:
                    failures.append(error)

    loads = [
        ("/predict", {"text": "I want to"}),
        ("/generate", {"text": "the", "generate": 300}),
        ("/generate", {"text": "the", "generate": 300, "stream": True}),
    ]
    clients = [threading.Thread(target=keep_asking, args=load) for load in loads * 2]
    for client in clients:
        client.start()
    time.sleep(1)
    before = len(answered)
    process.send_signal(signal.SIGTERM)
    # as a balancer would; it takes its time to notice
    for _ in range(200):
        ready = httpx.get(f"{url}/ready")
        if ready.status_code == 503:
            break
        time.sleep(0.01)
    assert (ready.status_code, ready.headers["connection"]) == (503, "close")
    assert ready.json()["detail"] == "not ready: the service is about to end"
    assert httpx.get(f"{url}/health").status_code == 200
    time.sleep(0.3)
    draining.set()
    for client in clients:
        client.join(60)
    process.wait(30)
    assert failures == []
    assert before > 0
    assert len(answered) > before
    assert {status for status, _ in answered} == {200}
    assert answered[-1][1] == "close"


def test_a_second_sigterm_ends_the_pause(service: tuple[str, subprocess.Popen[bytes]]) -> None:
    url, process = service
    with httpx.Client(base_url=url) as client:
        assert client.get("/health").status_code == 200
    start = time.monotonic()
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    process.wait(10)
    assert time.monotonic() - start < 1.5
