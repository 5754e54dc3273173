"""A thousand malformed requests and schemathesis on the OpenAPI schema: no 5xx, no memory growth."""

import json
import random
import socket
import string
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
import schemathesis
from helpers.service_process import JSON_LINE, Service, exchange, free_port, head, resident_mb, started, uvicorn_command
from helpers.waiting import DEADLINE
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from test_malformed import JSON_TYPE, PATHS, WRONG_TYPES, bodies

from lstm_lm.serving import create_app
from lstm_lm.serving.settings import Settings

NUM_REQUESTS = 1000
GROWTH_MB = 50
ALL_PATHS = (*PATHS, "/health", "/ready", "/info", "/metrics")


@pytest.fixture(scope="module")
def service(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    port = free_port()
    limits = {"LSTM_LM_MAX_K": "20", "LSTM_LM_MAX_WORDS": "50", "LSTM_LM_MAX_TEXT_CHARS": "2000"}
    folder = tmp_path_factory.mktemp("faults")
    with started(uvicorn_command(port), port, folder, LSTM_LM_BUNDLE=str(tiny_bundle), **limits) as service:
        yield service
        assert service.process.poll() is None


def damaged(rng: random.Random) -> bytes:
    """A valid request with a few bytes changed, deleted, repeated or inserted."""
    valid = {"text": "I want to 😀 مرحبا", "k": 3, "prefix": "t", "cache": {"weight": 0.2}, "allow": ["the", "of"]}
    body = bytearray(json.dumps(valid, ensure_ascii=rng.random() < 0.5).encode())
    for _ in range(rng.randint(1, 6)):
        position = rng.randrange(len(body) or 1)
        change = rng.choice(("set", "delete", "insert", "repeat", "cut"))
        if change == "set":
            body[position : position + 1] = rng.randbytes(1)
        elif change == "delete":
            del body[position : position + rng.randint(1, 5)]
        elif change == "insert":
            body[position:position] = rng.choice(
                (b"\x00", b"\xff", b"[", b"}", b'"', b"\\ud800", b"NaN", b"1e999", b",")
            )
        elif change == "repeat":
            body[position:position] = body[position : position + 20] * rng.randint(1, 30)
        else:
            del body[max(1, position) :]
    return bytes(body)


def framed(rng: random.Random, body: bytes) -> bytes:
    """A complete HTTP request with a wrong length, wrong chunks or a wrong head."""
    path = rng.choice(PATHS)
    return rng.choice(
        (
            head(path, JSON_LINE, f"Content-Length: {len(body) + rng.randint(1, 10**9)}") + body,
            head(path, JSON_LINE, f"Content-Length: {rng.choice(('-1', 'x', '1e3', '0x10', '9' * 40))}") + body,
            head(path, JSON_LINE, "Transfer-Encoding: chunked") + f"{len(body) + 9:x}\r\n".encode() + body,
            head(path, JSON_LINE, "Transfer-Encoding: chunked") + f"{len(body):x}\r\n".encode() + body + b"\r\n",
            head(path, JSON_LINE, "Transfer-Encoding: chunked") + rng.choice((b"zz\r\n", b"-1\r\n", b"f" * 99)) + body,
            head(path, "".join(rng.choices(string.printable, k=50)).replace("\r", "").replace("\n", "")) + body,
            rng.randbytes(200) + b"\r\n\r\n",
        )
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_thousand_malformed_requests_do_no_harm(service: Service) -> None:
    rng = random.Random(0)
    sent = 0
    with httpx.Client(base_url=service.url, timeout=DEADLINE) as client:
        # memory that the first request allocates does not count
        for path in PATHS:
            assert client.post(path, json={"text": "the"}).status_code == 200
        before = resident_mb(service.process.pid)

        def check(status: int, what: object) -> None:
            nonlocal sent
            sent += 1
            assert status < 500, what
            if sent % 20 == 0:
                assert client.get("/health").status_code == 200

        for path, body in bodies():
            check(client.post(path, content=body, headers=JSON_TYPE).status_code, (path, body[:80]))
        for content_type in WRONG_TYPES:
            headers = {"content-type": content_type}
            check(client.post("/predict", content=b'{"text": "a"}', headers=headers).status_code, content_type)
        for _ in range(300):
            body = damaged(rng)
            check(client.post("/predict", content=body, headers=JSON_TYPE).status_code, body)
        while sent < NUM_REQUESTS - 20:
            request = framed(rng, damaged(rng))
            response = exchange(service.port, request)
            check(int(response[9:12]) if response.startswith(b"HTTP/1.1 ") else 0, request)
        for _ in range(20):
            request = head("/predict", JSON_LINE, "Content-Length: 200000000") + b'{"text": "' + b"a" * 2_000_000
            with closing(socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE)) as connection:
                with suppress(OSError):
                    connection.sendall(request)
                check(int(connection.recv(100)[9:12]), "200 MB")
        assert sent >= NUM_REQUESTS
        assert client.get("/ready").status_code == 200
    assert resident_mb(service.process.pid) - before < GROWTH_MB


@pytest.fixture(scope="module")
def api(tiny_bundle: Path) -> BaseSchema:
    app = create_app(Settings(bundle=tiny_bundle, max_text_chars=2000, max_k=20, max_words=10, max_body_bytes=65_536))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "mode"),
    [(path, GenerationMode.POSITIVE) for path in ALL_PATHS] + [(path, GenerationMode.NEGATIVE) for path in PATHS],
)
def test_schemathesis_finds_no_server_error(api: BaseSchema, path: str, mode: GenerationMode) -> None:
    operation = api[path]["POST" if path in PATHS else "GET"]
    statuses = set()

    @settings(max_examples=200 if path in PATHS else 5, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: schemathesis.Case) -> None:
        response = case.call()
        case.validate_response(response, checks=[not_a_server_error])
        statuses.add(response.status_code)

    call()
    assert (200 in statuses) == (mode is GenerationMode.POSITIVE), statuses


def test_schemathesis_covers_every_operation(api: BaseSchema) -> None:
    assert set(api.raw_schema["paths"]) == set(ALL_PATHS)
