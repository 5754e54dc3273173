"""Clients that abuse their connections, against the service in its own process."""

import http.client
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from helpers.service_process import JSON_LINE, Service, free_port, head, resident_mb, started, uvicorn_command
from helpers.small_models import write_small_bundle

from campaigns.outcome import Outcome, Progress
from campaigns.project import Project, cpu_seconds

MAX_RESIDENT_MB = 200
MAX_CPU_SECONDS = 2.0
"""CPU time that the service may use between another client's request and its response."""

_KEY = "correct-horse-battery"
_NUM_CONNECTIONS = 200
_HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
_INFO = b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n"
Attack = Callable[[int, threading.Event], None]


def abuse_connections(project: Project, progress: Progress) -> Outcome:
    """Resident memory, and how long another client waits for ``/ready``, during each form of abuse."""
    seconds = 1.0 if project.quick else 10.0
    attacks: dict[str, Attack] = {
        "pipelined /health": _pipeline(_HEALTH, reads=True),
        "unread /health": _pipeline(_HEALTH, reads=False),
        "unread 401": _pipeline(_INFO, reads=False),
        "unread /predict": _pipeline(_predict_request(), reads=False),
        "slow heads": _send_slowly,
        "half-closed": _half_close,
    }
    outcome = Outcome("abused connections", len(attacks), progress)
    bundle = write_small_bundle(project.folder / "small-bundle")
    for name, attack in attacks.items():
        with _service(bundle, project.folder, "401" in name) as service:
            resident, waits, cpu, failures = _measure(service, attack, seconds)
            outcome.failures += [f"{name}: {failure}" for failure in failures]
            if cpu > MAX_CPU_SECONDS:
                outcome.failures.append(f"{name}: another client waited {max(waits):.1f} s, {cpu:.1f} s of CPU time")
            if resident > MAX_RESIDENT_MB:
                outcome.failures.append(f"{name}: resident memory reached {resident:.0f} MB")
            times = f"{1000 * statistics.median(waits):.0f} ms, at most {1000 * max(waits):.0f} ms ({cpu:.2f} s CPU)"
            outcome.figures.append(f"{name}: {resident:.0f} MB, other client {times}")
            outcome.record("form of abuse")
    return outcome


def _service(bundle: Path, folder: Path, has_key: bool):  # type: ignore[no-untyped-def]
    port = free_port()
    settings = {"LSTM_LM_BUNDLE": str(bundle), "LSTM_LM_DRAIN_SECONDS": "0"}
    return started(uvicorn_command(port), port, folder, **settings | ({"LSTM_LM_API_KEY": _KEY} if has_key else {}))


def _measure(service: Service, attack: Attack, seconds: float) -> tuple[float, list[float], float, list[str]]:
    """The largest resident memory in MB, the seconds of each ``/ready``, the most CPU time of one, what went wrong."""
    stop, resident, waits, failures = threading.Event(), [0.0], list[float](), list[str]()
    pid, cpu = service.process.pid, 0.0
    attacker = threading.Thread(target=attack, args=(service.port, stop))
    attacker.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end or not waits:
        client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        with closing(client):
            begin, cpu_before = time.monotonic(), cpu_seconds(pid)
            client.request("GET", "/ready")
            if (status := client.getresponse().status) != 200:
                failures.append(f"/ready returned {status}")
            waits.append(time.monotonic() - begin)
            cpu = max(cpu, cpu_seconds(pid) - cpu_before)
        resident.append(resident_mb(pid))
        time.sleep(0.02)
    stop.set()
    attacker.join()
    return max(resident), waits, cpu, failures


def _predict_request() -> bytes:
    body = b'{"text": "the cat", "k": 5}'
    request = head("/predict", JSON_LINE, f"Content-Length: {len(body)}") + body
    return request.replace(b"Connection: close\r\n", b"")


def _pipeline(request: bytes, reads: bool) -> Attack:
    """Send requests on one connection as fast as it takes them."""

    def attack(port: int, stop: threading.Event) -> None:
        sent = request * 500
        while not stop.is_set():
            with closing(socket.create_connection(("127.0.0.1", port))) as connection, suppress(OSError):
                connection.settimeout(0.05)
                pending = memoryview(sent)
                while not stop.is_set():
                    with suppress(TimeoutError):
                        pending = pending[connection.send(pending) :] or memoryview(sent)
                    if reads:
                        with suppress(TimeoutError):
                            connection.recv(1 << 20)

    return attack


def _send_slowly(port: int, stop: threading.Event) -> None:
    """Open many connections that each send a byte of a head now and then."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(_NUM_CONNECTIONS)]
    while not stop.wait(0.2):
        for connection in connections:
            with suppress(OSError):
                connection.send(b"G")
    for connection in connections:
        connection.close()


def _half_close(port: int, stop: threading.Event) -> None:
    """Open many connections that send a request, close their sending side and read nothing."""
    while not stop.is_set():
        connections = []
        for _ in range(_NUM_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port))
            with suppress(OSError):
                connection.sendall(_predict_request())
                connection.shutdown(socket.SHUT_WR)
            connections.append(connection)
        stop.wait(0.5)
        for connection in connections:
            connection.close()
