"""Soak test of the service: `python scripts/soak_serving.py --seconds 600`.

Predictions, complete and streamed generations, aborted streams, wrong requests and health checks run concurrently
over loopback. It fails on an unexpected response, a traceback in the log or growing memory.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from serving_load import MEDIUM, MEDIUM_WORDS, Connection, Service, connected, random_bundle, running_service

TEXTS = (
    "I want to",
    "the people that",
    "don't , 1,000 (well-known) @-@",
    "",
    "😀 مرحبا café",
    "line\nline",
    "zyzzyva " * 30,
)
WRONG_BODIES: tuple[dict[str, Any], ...] = (
    {},
    {"text": 1},
    {"text": "a\x00"},
    {"text": "a", "k": 0, "generate": 0},
    {"x": 1},
)
Client = Callable[[Connection, random.Random], Awaitable[str]]


def main() -> None:
    """Run, print a summary, and exit with 1 on a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a bundle; default: random weights in the medium model's sizes")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--max-growth-mb", type=float, default=50.0, help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = args.model or random_bundle(Path(folder) / "medium", MEDIUM, MEDIUM_WORDS)
        with running_service(bundle) as service:
            problems, summary = asyncio.run(soak(service, args.seconds, args.max_growth_mb))
            log = service.log.read_text()
    if "Traceback" in log:
        problems.append(f"the service's log has a traceback:\n{log[-3000:]}")
    Console(width=120).print(summary)
    if problems:
        raise SystemExit("\n".join(problems[:20]))


async def soak(service: Service, seconds: float, max_growth_mb: float) -> tuple[list[str], str]:
    """Run all clients for ``seconds``; returns the problems and a one-line summary."""
    counts: Counter[str] = Counter()
    problems: list[str] = []
    start = time.monotonic()
    memory: list[float] = []

    async def repeat(client: Client, seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() - start < seconds and len(problems) < 20:
            try:
                async with connected(service.port) as connection:
                    for _ in range(rng.randrange(1, 40)):
                        counts[await asyncio.wait_for(client(connection, rng), 60)] += 1
                        if time.monotonic() - start > seconds or client is abort_stream:
                            break
            except Exception as error:
                problems.append(f"{client.__name__} after {time.monotonic() - start:.0f} s: {error!r}")

    async def sample_memory() -> None:
        while time.monotonic() - start < seconds:
            memory.append(service.resident_mb)
            await asyncio.sleep(min(1.0, seconds / 20))

    clients = (
        predict,
        predict,
        predict,
        generate,
        stream,
        stream,
        abort_stream,
        abort_stream,
        send_wrong,
        check_health,
    )
    await asyncio.gather(sample_memory(), *(repeat(client, seed) for seed, client in enumerate(clients)))
    # caches and buffers fill in the first quarter
    early, late = memory[len(memory) // 4], max(memory[-max(1, len(memory) // 4) :])
    if late - early > max_growth_mb:
        problems.append(f"memory grew from {early:.0f} to {late:.0f} MB")
    if problems:
        return problems, "failed"
    for _ in range(100):
        if "\nlstm_lm_generations 0.0" in (metrics := await asyncio.to_thread(service.get, "/metrics")):
            break
        await asyncio.sleep(0.05)
    else:
        problems.append(f"generations still run: {[x for x in metrics.splitlines() if 'generations' in x]}")
    done = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return problems, f"{seconds:.0f} s: {done}; memory {early:.0f} MB after a quarter, {late:.0f} MB at the end"


def expect(condition: bool, message: object) -> None:
    """Raise ValueError unless ``condition``."""
    if not condition:
        raise ValueError(str(message)[:300])


async def predict(connection: Connection, rng: random.Random) -> str:
    """One keystroke."""
    body: dict[str, Any] = {
        "text": rng.choice(TEXTS),
        "k": rng.randint(1, 10),
        "prefix": rng.choice(("", "", "t", "Pe")),
    }
    body |= rng.choice(({}, {}, {"words_only": True}, {"cache": True}, {"deny": ["the"]}))
    response = await connection.post("/predict", body)
    expect(response.status == 200 and b"suggestions" in response.body, response)
    return "predictions"


async def generate(connection: Connection, rng: random.Random) -> str:
    """A complete generation."""
    body = {"text": rng.choice(TEXTS), "max_words": rng.randint(1, 60), "stop": rng.choice(([], ["."], ["the", "of"]))}
    response = await connection.post("/generate", body)
    expect(response.status == 200 and b'"words"' in response.body, response)
    return "generations"


async def stream(connection: Connection, rng: random.Random) -> str:
    """A streamed generation, read to its end."""
    count = rng.randint(1, 60)
    response = await connection.post("/generate", {"text": rng.choice(TEXTS), "max_words": count, "stream": True})
    expect(response.status == 200, response)
    pieces = sum([received async for received in connection.pieces()])
    expect(pieces == count, f"{pieces} pieces of {count}")
    return "streams"


async def abort_stream(connection: Connection, rng: random.Random) -> str:
    """A stream whose client disconnects after a few words."""
    response = await connection.post("/generate", {"text": rng.choice(TEXTS), "max_words": 500, "stream": True})
    expect(response.status == 200, response)
    remaining = rng.randint(1, 10)
    async for _ in connection.pieces():
        remaining -= 1
        if remaining <= 0:
            break
    return "aborted streams"


async def send_wrong(connection: Connection, rng: random.Random) -> str:
    """A wrong request."""
    response = await connection.post(rng.choice(("/predict", "/generate")), rng.choice(WRONG_BODIES))
    expect(response.status == 422, response)
    await asyncio.sleep(0.01)
    return "wrong requests"


async def check_health(connection: Connection, _rng: random.Random) -> str:
    """Health checks, metrics and model card."""
    for path in ("/health", "/ready", "/metrics", "/info"):
        response = await connection.get(path)
        expect(response.status == 200, response)
    await asyncio.sleep(0.1)
    return "health checks"


if __name__ == "__main__":
    main()
