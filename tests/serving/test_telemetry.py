"""The extra ``otel``: traces and metrics reach an OTLP collector, without the text of a request."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from helpers.service_process import free_port, started, wait_until

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
pytestmark = pytest.mark.slow
SECRET = "xyzzy-typed-by-a-person"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """The address of a collector, and what it received."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", received
    server.shutdown()
    thread.join()


def test_traces_and_metrics_without_text(
    collector: tuple[str, list[tuple[str, bytes]]], tiny_bundle: Path, tmp_path: Path
) -> None:
    address, received = collector
    port = free_port()
    command = [sys.executable, "-m", "lstm_lm", "serve", "--model", str(tiny_bundle), "--port", str(port)]
    variables = {
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_SERVICE_NAME": "keyboard",
        "LSTM_LM_DRAIN_SECONDS": "0",
    }  # fmt: skip
    with started(command, port, tmp_path, **variables) as service:
        body = {"text": SECRET, "user_words": {SECRET: 1}, "recent": [SECRET]}
        for sent in (body, {**body, "text": 1}, {SECRET: SECRET}):
            httpx.post(f"{service.url}/predict", json=sent, trust_env=False, verify=False)
        service.process.terminate()
        wait_until(lambda: service.process.poll() is not None, service.log)
    assert {path for path, _ in received} == {"/v1/traces", "/v1/metrics"}
    content = b"".join(content for _, content in received)
    assert b"keyboard" in content
    assert b"/predict" in content
    assert SECRET.encode() not in content
    assert SECRET not in json.dumps(service.log.read_text())
