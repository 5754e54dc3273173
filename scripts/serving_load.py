"""Shared by bench_serving.py and soak_serving.py: a random bundle, the service in its own process, and a fast client.

All traffic stays on the loopback interface.
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
START_SECONDS = 120
MEDIUM = {"embedding_dim": 400, "hidden_dims": [640, 400]}
MEDIUM_WORDS = 33_278


def random_bundle(path: Path, sizes: dict[str, Any], num_words: int) -> Path:
    """Write a bundle with random weights, as fast and as large as a trained one."""
    import torch

    from lstm_lm.data.config import DataConfig
    from lstm_lm.export.bundle_writer import write_bundle
    from lstm_lm.export.onnx_graph import float_graph, int8_graph
    from lstm_lm.inference.config import SamplingConfig
    from lstm_lm.inference.loading import INT8, ONNX
    from lstm_lm.nn.config import ModelConfig
    from lstm_lm.nn.model import LSTMLanguageModel
    from lstm_lm.saved_model import ModelMetadata
    from lstm_lm.text.vocabulary import Vocabulary

    config = ModelConfig(**sizes)
    torch.manual_seed(0)
    weights = {name: tensor.numpy() for name, tensor in LSTMLanguageModel(config, num_words).state_dict().items()}
    words = ("the", "<unk>", ",", "<eos>", ".", "of", "to", "people", "want", "I", "that")
    words += tuple(f"word{index}" for index in range(num_words - len(words)))
    write_bundle(
        path,
        metadata=ModelMetadata(
            model=config,
            tokenizer="moses",
            data=DataConfig(source="text_files"),
            presets={
                "balanced": SamplingConfig(temperature=0.9, top_k=100, top_p=0.95, repeat_penalty=1.1, repeat_window=40)
            },
            default_preset="balanced",
        ),
        weights=weights,
        vocabulary=Vocabulary(words, range(num_words + 1, 1, -1)),
        card="# Random weights, for benchmarks\n",
        graphs={ONNX: float_graph(config, weights), INT8: int8_graph(config, weights)},
    )
    return path


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        port: On the loopback interface.
        process: The uvicorn process.
        start_seconds: From its start to the first 200 of ``/ready``.
        log: Its stdout and stderr.
    """

    port: int
    process: subprocess.Popen[bytes]
    start_seconds: float
    log: Path

    @property
    def resident_mb(self) -> float:
        """Resident memory in MB; NaN where there is no /proc."""
        status = Path(f"/proc/{self.process.pid}/status")
        match = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
        return int(match[1]) * 1024 / 1e6 if match else float("nan")

    def get(self, path: str) -> str:
        """The body of a GET."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=30) as response:
            return str(response.read().decode())


@contextmanager
def running_service(bundle: Path, **settings: object) -> Iterator[Service]:
    """Run the service under uvicorn until it is ready; end it with SIGTERM, after 30 s with SIGKILL."""
    with closing(socket.create_server((HOST, 0))) as listener:
        port = listener.getsockname()[1]
    effective = {"bundle": bundle, "drain_seconds": 0, **settings}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LSTM_LM_")}
    environment |= {f"LSTM_LM_{name.upper()}": str(value) for name, value in effective.items()}
    command = [sys.executable, "-m", "uvicorn", "--factory", "lstm_lm.serving:create_app", "--host", HOST]
    command += ["--http", "lstm_lm.serving.http_protocol:BoundedHttpTools", "--port", str(port), "--no-access-log"]
    with tempfile.NamedTemporaryFile(prefix="service-", suffix=".log") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            service = Service(port, process, 0.0, Path(log.name))
            while True:
                if process.poll() is not None or time.perf_counter() - start > START_SECONDS:
                    raise SystemExit(f"the service did not start:\n{Path(log.name).read_text()}")
                try:
                    service.get("/ready")
                    break
                except OSError:
                    time.sleep(0.01)
            yield Service(port, process, time.perf_counter() - start, Path(log.name))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Response:
    """A response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """A keep-alive connection with minimal work per request, so that benchmarks measure the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def post(self, path: str, body: dict[str, Any]) -> Response:
        """The response to a POST; :meth:`pieces` reads a streamed body."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        return await self._exchange(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    async def get(self, path: str) -> Response:
        """The response to a GET."""
        return await self._exchange(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())

    async def _exchange(self, request: bytes) -> Response:
        self._writer.write(request)
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        return Response(int(first.split(" ")[1]), headers, await self._reader.readexactly(length))

    async def pieces(self) -> AsyncIterator[int]:
        """The number of pieces in each chunk, to the end of a streamed response."""
        while length := int((await self._reader.readuntil(b"\r\n")), 16):
            yield (await self._reader.readexactly(length + 2)).count(b'data: {"piece"')
        await self._reader.readuntil(b"\r\n")


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection to the service."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
