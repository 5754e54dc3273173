"""The service in its own process: start, requests over a real socket, shutdown."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from helpers.service_process import (
    JSON_LINE,
    Service,
    environment,
    exchange,
    free_port,
    head,
    resident_mb,
    started,
    uvicorn_command,
)
from helpers.waiting import DEADLINE

from lstm_lm.cli.main import main
from lstm_lm.errors import CheckpointMissingError, ConfigError
from lstm_lm.serving import create_app
from lstm_lm.serving.settings import Settings, read_settings


def run(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, check=False, timeout=DEADLINE
    )


@pytest.fixture(scope="module")
def service(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    port = free_port()
    folder = tmp_path_factory.mktemp("service")
    with started(uvicorn_command(port), port, folder, LSTM_LM_BUNDLE=str(tiny_bundle)) as service:
        yield service
        assert service.process.poll() is None


def test_responds_over_a_socket(service: Service) -> None:
    assert len(httpx.post(f"{service.url}/predict", json={"text": "I want to", "k": 3}).json()["suggestions"]) == 3
    generated = httpx.post(f"{service.url}/generate", json={"text": "the", "generate": 5, "seed": 1}).json()
    assert generated["text"].startswith("the")
    assert httpx.get(f"{service.url}/docs").status_code == 200


def test_text_of_a_request_is_never_logged(service: Service) -> None:
    for body in ({"text": "xyzzy typed"}, {"text": "xyzzy typed", "xyzzy": 1}, {"text": ["xyzzy"]}):
        httpx.post(f"{service.url}/generate", json=body)
    log = service.log.read_text()
    assert "POST /generate" in log
    assert "xyzzy" not in log


@pytest.mark.parametrize("path", ["/predict", "/generate"])
def test_service_survives_broken_connections_and_bodies(service: Service, path: str) -> None:
    body = b'{"text": "the"}'
    chunked = head(path, JSON_LINE, "Transfer-Encoding: chunked")
    sent = {
        "body shorter than declared": head(path, JSON_LINE, "Content-Length: 100") + body,
        "chunk shorter than declared": chunked + b"ff\r\n" + body,
        "no last chunk": chunked + b"f\r\n" + body + b"\r\n",
        "chunk size not a number": chunked + b"xyz\r\n" + body + b"\r\n0\r\n\r\n",
        "chunk size negative": chunked + b"-5\r\n" + body + b"\r\n0\r\n\r\n",
        "chunk size huge": chunked + b"f" * 40 + b"\r\n" + body,
        "length not a number": head(path, JSON_LINE, "Content-Length: many") + body,
        "length negative": head(path, JSON_LINE, "Content-Length: -1") + body,
        "two lengths": head(path, JSON_LINE, "Content-Length: 3", "Content-Length: 15") + body,
        "length and chunks": head(path, JSON_LINE, "Content-Length: 3", "Transfer-Encoding: chunked") + b"f\r\n" + body,
        "unknown coding": head(path, JSON_LINE, "Transfer-Encoding: gzip") + body,
        "header with NUL": head(path, "Content-Type: appli\x00cation/json", "Content-Length: 15") + body,
        "header not ASCII": head(path, "Content-Type: applicatión/json", "Content-Length: 15") + body,
        "endless header": head(path, "X: " + "a" * 2_000_000, JSON_LINE, "Content-Length: 15") + body,
        "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + b"\r\n\r\n",
        "nothing": b"",
    }
    for name, request in sent.items():
        response = exchange(service.port, request)
        assert response == b"" or response.startswith(b"HTTP/1.1 4"), (name, response[:200])
        assert httpx.get(f"{service.url}/health").status_code == 200


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_endless_request_is_cut_off(service: Service) -> None:
    before = resident_mb(service.process.pid)
    chunked = head("/predict", JSON_LINE, "Transfer-Encoding: chunked")
    starts = {
        "path": b"GET /",
        "header": head("/predict")[:-2] + b"X: ",
        "chunk extension": chunked + b"f; ",
        "trailer": chunked + b'f\r\n{"text": "the"}\r\n0\r\nX: ',
    }
    for name, start in starts.items():
        with closing(socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE)) as connection:
            connection.sendall(start)
            with suppress(ConnectionError):
                for _ in range(1000):
                    connection.sendall(b"a" * 65_536)
                pytest.fail(f"65 MB of a {name} were accepted")
    many = [f"X-{number}: {'a' * 100}" for number in range(100_000)]
    assert exchange(service.port, head("/predict", *many))[:12] in (b"", b"HTTP/1.1 400")
    assert httpx.get(f"{service.url}/health").status_code == 200
    assert resident_mb(service.process.pid) - before < 50


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    # more bytes at once than the limit for an unfinished head
    body = b'{"text": "%s"}' % (b"the " * 100)
    predict = head("/predict", JSON_LINE, f"Content-Length: {len(body)}").replace(b"Connection: close\r\n", b"") + body
    health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE)) as connection:
        connection.sendall((predict + health) * 200 + health.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        received = b""
        while part := connection.recv(65_536):
            received += part
    assert received.count(b"HTTP/1.1 200 OK") == 401


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_is_bounded_if_the_client_reads_no_responses(service: Service) -> None:
    before = resident_mb(service.process.pid)
    requests = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 100_000
    sent = stalled = 0
    with (
        closing(socket.create_connection(("127.0.0.1", service.port))) as connection,
        httpx.Client(base_url=service.url, timeout=DEADLINE) as other,
    ):
        connection.setblocking(False)
        # the service has stopped reading once it accepts nothing here while it responds to another client
        while sent < len(requests) and stalled < 20:
            try:
                sent += connection.send(requests[sent : sent + 65_536])
                stalled = 0
            except BlockingIOError:
                stalled += 1
                assert other.get("/health").status_code == 200
        assert other.get("/ready").status_code == 200
        assert resident_mb(service.process.pid) - before < 50


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_huge_body_is_refused_before_it_is_read(service: Service) -> None:
    before = resident_mb(service.process.pid)
    declared = head("/predict", JSON_LINE, "Content-Length: 200000000") + b'{"text": "' + b"a" * 1_000_000
    chunked = head("/predict", JSON_LINE, "Transfer-Encoding: chunked") + (b"10000\r\n" + b"a" * 65_536 + b"\r\n") * 300
    for request in (declared, chunked):
        with closing(socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE)) as connection:
            # the service responds and closes before the body has arrived
            with suppress(OSError):
                connection.sendall(request)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 413")
    assert httpx.get(f"{service.url}/health").status_code == 200
    assert resident_mb(service.process.pid) - before < 50


@pytest.fixture
def bad_bundles(tiny_bundle: Path, tmp_path: Path) -> dict[str, str]:
    """Unusable bundles, by a part of their error message."""
    damaged = shutil.copytree(tiny_bundle, tmp_path / "damaged")
    weights = bytearray((damaged / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(weights)
    return {"there is no such": str(tmp_path / "absent"), "changed after the export": str(damaged)}


def test_uvicorn_with_a_bad_bundle_prints_one_line_and_exits_with_1(bad_bundles: dict[str, str]) -> None:
    for words, bundle in bad_bundles.items():
        done = run(uvicorn_command(free_port()), LSTM_LM_BUNDLE=bundle)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("error: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_serve_with_a_bad_bundle_prints_one_line_and_exits_with_1(
    bad_bundles: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for words, bundle in bad_bundles.items():
        assert main(["serve", "--model", bundle, "--port", "0"]) == 1
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1


def test_create_app_with_settings_raises(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissingError, match="absent"):
        create_app(Settings(bundle=tmp_path / "absent"))


def test_missing_backend_file_is_an_error(tiny_bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no model\.int8\.onnx"):
        create_app(Settings(bundle=tiny_bundle, backend="int8"))
    with pytest.raises(ConfigError, match="LSTM_LM_BACKEND: must be one of auto, int8, onnx, torch"):
        read_settings(bundle=tiny_bundle, backend="cuda")


def test_growing_text_hits_the_prefix_cache(service: Service) -> None:
    def hits() -> float:
        return float(httpx.get(f"{service.url}/metrics").text.split("\nlstm_lm_prefix_cache_hits_total ")[1].split()[0])

    before = hits()
    for text in ("people want", "people want time", "people want time for", "people want time"):
        response = httpx.post(f"{service.url}/predict", json={"text": text})
        assert response.headers["server-timing"].startswith("app;dur=")
    assert hits() == before + 3


def test_unusable_address_is_an_error(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("203.0.113.1", "a..b"):
        assert main(["serve", "--model", str(tiny_bundle), "--host", host, "--port", "0"]) == 1
        assert "host: " in capsys.readouterr().err
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        assert main(["serve", "--model", str(tiny_bundle), "--port", str(port)]) == 1
    assert f"port: {port} is in use" in capsys.readouterr().err


def test_all_wrong_settings_are_named_at_once() -> None:
    done = run(uvicorn_command(free_port()), LSTM_LM_MAX_K="many", LSTM_LM_PREFILL_THREADS="0")
    assert done.returncode == 1
    for words in ("LSTM_LM_MAX_K: input should be a valid integer", "LSTM_LM_PREFILL_THREADS: "):
        assert words in done.stderr


def test_serve_prints_its_address_and_finishes_requests_in_flight_after_ctrl_c(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "lstm_lm", "serve", "--model", str(tiny_bundle), "--port", str(port)]
    with (
        started(command, port, tmp_path) as service,
        httpx.Client(base_url=service.url, timeout=DEADLINE) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        body = {"text": "the", "generate": 500}
        responses = [threads.submit(client.post, "/generate", json=body) for _ in range(4)]
        # requests after the signal are refused
        while "\nlstm_lm_model_requests 4.0" not in client.get("/metrics").text:
            assert not any(response.done() for response in responses), "a request finished before all had started"
        service.process.send_signal(signal.SIGINT)
        assert [response.result().status_code for response in responses] == [200] * 4
        assert service.process.wait(DEADLINE) == 0
        assert f"serving {tiny_bundle} at {service.url} " in service.log.read_text()


def test_service_imports_neither_torch_nor_a_trainer() -> None:
    heavy = "{'torch', 'lightning', 'hydra', 'omegaconf', 'datasets'}"
    light = "import sys, lstm_lm.serving; assert 'fastapi' not in sys.modules, 'fastapi'"
    whole = f"import lstm_lm.serving.app; found = {heavy} & set(sys.modules); assert not found, found"
    done = run([sys.executable, "-c", f"{light}; {whole}"])
    assert done.returncode == 0, done.stderr
