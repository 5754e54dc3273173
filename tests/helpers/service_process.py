"""The service in its own process, and raw bytes to send to it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from helpers.waiting import DEADLINE, wait_until
from lstm_lm.cli.environment import OPENMP

JSON_LINE = "Content-Type: application/json"


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LSTM_LM_")}
    return {**inherited, **OPENMP, **variables}


def uvicorn_command(port: int) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", "--factory", "lstm_lm.serving:create_app", "--port", str(port)]
    return [*command, "--http", "lstm_lm.serving.http_protocol:BoundedHttpTools"]


@dataclass(frozen=True)
class Service:
    port: int
    process: subprocess.Popen[str]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def is_ready(url: str) -> bool:
    with suppress(httpx.TransportError):
        # no certificates: loading them takes longer than the request
        return httpx.get(f"{url}/ready", verify=False, trust_env=False).status_code == 200
    return False


@contextmanager
def started(command: list[str], port: int, folder: Path, **variables: str) -> Iterator[Service]:
    log = folder / f"service-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment(**variables), stdout=output, stderr=output, text=True)
    try:
        wait_until(lambda: process.poll() is not None or is_ready(f"http://127.0.0.1:{port}"), log)
        assert process.poll() is None, log.read_text()
        yield Service(port, process, log)
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes on a new connection, close its sending side, and return the response."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)) as connection:
        received = b""
        # the service may respond and close before everything is sent
        with suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            while part := connection.recv(65_536):
                received += part
        return received


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""]).encode("latin-1")


def resident_mb(process_id: int) -> float:
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
