"""Measure the service: `python scripts/bench_serving.py`, about two minutes, best on an idle machine.

It compares two configurations, each a uvicorn process, with the load from this process over loopback:

* ours: the fastest backend of the bundle (int8), dynamic and continuous batching, prefix cache;
* plain: torch processes the full text for each request, without batching.

The load generator uses uvloop and a minimal client, because it shares the cores with the service.

Without --model the weights are random, in the medium model's sizes with 33,278 words; times do not depend on them.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table
from serving_load import MEDIUM, MEDIUM_WORDS, Service, connected, random_bundle, running_service

from lstm_lm.bundle import Bundle, read_bundle

SETTINGS: dict[str, dict[str, Any]] = {
    "ours": {},
    "plain": {"backend": "torch", "prefix_cache_size": 0, "max_batch": 1},
}
TEXT_WORDS = 24
LIMIT_MS = 50.0


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a bundle with model.onnx or model.int8.onnx")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.model or random_bundle(Path(folder) / "medium", MEDIUM, MEDIUM_WORDS)
        bundle = read_bundle(path)
        rows = measure(bundle, args.seconds, args.clients, args.streams)
        step = step_report(bundle)
    table = Table("", *SETTINGS)
    for name, values in rows.items():
        table.add_row(name, *values)
    console = Console(width=100)
    console.print(table)
    console.print(f"One step for one text: {step}.")


def measure(bundle: Bundle, seconds: float, clients: Sequence[int], streams: Sequence[int]) -> dict[str, list[str]]:
    """The table's rows: one value per configuration."""
    rows: dict[str, list[str]] = {}
    words = [word for word in bundle.vocabulary.words[:5000] if word.isalnum()]
    for settings in SETTINGS.values():
        with running_service(bundle.path, **settings) as service:
            add(rows, "ready after start, s", f"{service.start_seconds:.2f}")
            for name, growing in (("/predict, text with one more word", True), ("/predict, a new text", False)):
                _, server_ms = uvloop.run(predict_load(service, words, 1, seconds, growing))
                add(rows, f"{name}: median, p95, p99 in ms at the server", percentiles(server_ms))
            best = ("0", "none")
            for count in clients:
                client_ms, _ = uvloop.run(predict_load(service, words, count, seconds, True))
                rate, p99 = len(client_ms) / seconds, float(np.percentile(client_ms, 99))
                add(rows, f"{count} clients typing: requests/s (p99 in ms)", f"{rate:.0f} ({p99:.1f})")
                if p99 < LIMIT_MS and rate > float(best[0]):
                    best = (f"{rate:.0f}", f"{rate:.0f} ({count} clients)")
            add(rows, f"most requests/s with p99 below {LIMIT_MS:.0f} ms", best[1])
            for count in streams:
                rate = uvloop.run(stream_load(service, words, count, seconds))
                add(rows, f"{count} streams: words/s in total", f"{rate:.0f}")
            add(rows, "resident memory at the end, MB", f"{service.resident_mb:.0f}")
    return rows


def add(rows: dict[str, list[str]], name: str, value: str) -> None:
    """Append ``value`` to the row ``name``."""
    rows.setdefault(name, []).append(value)


def percentiles(milliseconds: Sequence[float]) -> str:
    """Median, p95 and p99."""
    return "  ".join(f"{value:.1f}" for value in np.percentile(milliseconds, [50, 95, 99]))


async def predict_load(
    service: Service, words: Sequence[str], clients: int, seconds: float, growing: bool
) -> tuple[list[float], list[float]]:
    """Send predictions from clients that each wait only for their last response.

    Args:
        service: Receives the requests.
        words: Vocabulary of the texts.
        clients: Number of concurrent clients.
        seconds: Duration after a warm-up.
        growing: Each text is the previous one plus a word, up to twice ``TEXT_WORDS``; else each is new.

    Returns:
        Milliseconds of every request as the client measures it, and as the service reports it.
    """
    client_ms: list[float] = []
    server_ms: list[float] = []
    warm_up = time.perf_counter() + min(1.0, seconds / 4)
    end = warm_up + seconds

    async def send(seed: int) -> None:
        rng = random.Random(f"{seed} {clients} {growing} {service.port}")
        text: list[str] = []
        async with connected(service.port) as connection:
            while (start := time.perf_counter()) < end:
                text = [*text, rng.choice(words)] if growing and len(text) < 2 * TEXT_WORDS else []
                text = text or rng.choices(words, k=TEXT_WORDS)
                response = await connection.post("/predict", {"text": " ".join(text), "k": 3})
                if response.status != 200:
                    raise SystemExit(f"/predict returned {response.status}: {response.body[:200]!r}")
                if start > warm_up:
                    client_ms.append((time.perf_counter() - start) * 1000)
                    server_ms.append(float(response.headers["server-timing"].partition("dur=")[2]))

    await asyncio.gather(*map(send, range(clients)))
    return client_ms, server_ms


async def stream_load(service: Service, words: Sequence[str], streams: int, seconds: float) -> float:
    """Words per second of ``streams`` clients that each read one streamed text of 100 words after another."""
    warm_up = time.perf_counter() + min(1.0, seconds / 4)
    end = warm_up + seconds
    count = 0

    async def read(seed: int) -> None:
        nonlocal count
        rng = random.Random(seed)
        while time.perf_counter() < end:
            async with connected(service.port) as connection:
                body = {"text": " ".join(rng.choices(words, k=5)), "max_words": 100, "seed": seed, "stream": True}
                response = await connection.post("/generate", body)
                if response.status != 200:
                    raise SystemExit(f"/generate returned {response.status}")
                async for pieces in connection.pieces():
                    if warm_up < time.perf_counter() < end:
                        count += pieces
                    elif time.perf_counter() > end:
                        return

    await asyncio.gather(*map(read, range(streams)))
    return count / seconds


def step_report(bundle: Bundle) -> str:
    """The time of one step for one text, and its share of the memory bandwidth."""
    engine = bundle.engine()
    state, ids = engine.backend.initial_state(1), np.array([[5]])
    times = []
    for _ in range(200):
        start = time.perf_counter()
        engine.backend.step(ids, state)
        times.append(time.perf_counter() - start)
    step = float(np.median(times))
    dims = bundle.metadata.model.hidden_dims
    inputs = [bundle.metadata.model.embedding_dim, *dims]
    weights = sum(4 * out * (into + out) for into, out in zip(inputs, dims, strict=False))
    weights += len(bundle.vocabulary) * dims[-1]
    size = weights * (1 if "model.int8.onnx" in bundle.files else 4)
    bandwidth = memory_bandwidth()
    return (
        f"{step * 1000:.2f} ms for {size / 1e6:.1f} MB of weights = {size / step / 1e9:.1f} GB/s, "
        f"{size / step / bandwidth:.0%} of the {bandwidth / 1e9:.1f} GB/s that all cores read from memory"
    )


def memory_bandwidth() -> float:
    """Bytes per second that all cores together read from arrays larger than any cache."""
    threads = os.cpu_count() or 1
    arrays = [np.ones(64_000_000, np.float32) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.max, arrays))
            best = max(best, sum(array.nbytes for array in arrays) / (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    main()
