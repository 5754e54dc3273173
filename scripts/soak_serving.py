"""Mixed load on the service for a while: `python scripts/soak_serving.py --seconds 600`.

People who type, texts that are written and streamed, streams that are broken off, requests that are wrong and probes,
all at once and over loopback. Fails if an answer is not the expected one or memory grows.
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
WRONG: tuple[dict[str, Any], ...] = ({}, {"text": 1}, {"text": "a\x00"}, {"text": "a", "k": 0, "generate": 0}, {"x": 1})
GROWTH_MB = 50.0
Client = Callable[[Connection, random.Random], Awaitable[str]]


def main() -> None:
    """Run, print a line, and exit with 1 on a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, help="a bundle; without one random weights of the medium sizes are served"
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = given.model or random_bundle(Path(folder) / "medium", MEDIUM, MEDIUM_WORDS)
        with running_service(bundle) as service:
            problems, line = asyncio.run(soak(service, given.seconds))
            log = service.log.read_text()
    if "Traceback" in log:
        problems.append(f"the service's log has a traceback:\n{log[-3000:]}")
    Console(width=120).print(line)
    if problems:
        raise SystemExit("\n".join(problems[:20]))


async def soak(service: Service, seconds: float) -> tuple[list[str], str]:
    """Keep all clients busy for ``seconds``; what went wrong, and a line about what was done."""
    done: Counter[str] = Counter()
    problems: list[str] = []
    start = time.monotonic()
    memory: list[float] = []

    async def keep(client: Client, seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() - start < seconds and len(problems) < 20:
            try:
                async with connected(service.port) as connection:
                    for _ in range(rng.randrange(1, 40)):
                        done[await asyncio.wait_for(client(connection, rng), 60)] += 1
                        if time.monotonic() - start > seconds or client is breaks_off:
                            break
            except Exception as error:
                problems.append(f"{client.__name__} after {time.monotonic() - start:.0f} s: {error!r}")

    async def watch() -> None:
        while time.monotonic() - start < seconds:
            memory.append(service.resident_mb)
            await asyncio.sleep(min(1.0, seconds / 20))

    clients = (types, types, types, writes, streams, streams, breaks_off, breaks_off, errs, probes)
    await asyncio.gather(watch(), *(keep(client, seed) for seed, client in enumerate(clients)))
    # caches and buffers fill in the first part
    early, late = memory[len(memory) // 4], max(memory[-max(1, len(memory) // 4) :])
    if late - early > GROWTH_MB:
        problems.append(f"memory grew from {early:.0f} to {late:.0f} MB")
    if problems:
        return problems, "failed"
    for _ in range(100):
        if "\nlstm_lm_generations 0.0" in (figures := await asyncio.to_thread(service.get, "/metrics")):
            break
        await asyncio.sleep(0.05)
    else:
        problems.append(f"generations still run: {[x for x in figures.splitlines() if 'generations' in x]}")
    counts = ", ".join(f"{count} {name}" for name, count in sorted(done.items()))
    return problems, f"{seconds:.0f} s: {counts}; memory {early:.0f} MB after a quarter, {late:.0f} MB at the end"


def expect(condition: bool, what: object) -> None:
    """Fail unless ``condition``."""
    if not condition:
        raise ValueError(str(what)[:300])


async def types(connection: Connection, rng: random.Random) -> str:
    """One keystroke of somebody who types."""
    body: dict[str, Any] = {
        "text": rng.choice(TEXTS),
        "k": rng.randint(1, 10),
        "prefix": rng.choice(("", "", "t", "Pe")),
    }
    body |= rng.choice(({}, {}, {"words_only": True}, {"cache": True}, {"deny": ["the"]}))
    answer = await connection.post("/predict", body)
    expect(answer.status == 200 and b"suggestions" in answer.body, answer)
    return "predictions"


async def writes(connection: Connection, rng: random.Random) -> str:
    """A text that is asked for as a whole."""
    body = {"text": rng.choice(TEXTS), "generate": rng.randint(1, 60), "stop": rng.choice(([], ["."], ["the", "of"]))}
    answer = await connection.post("/generate", body)
    expect(answer.status == 200 and b'"words"' in answer.body, answer)
    return "texts"


async def streams(connection: Connection, rng: random.Random) -> str:
    """A text that is read as it comes, to its end."""
    count = rng.randint(1, 60)
    answer = await connection.post("/generate", {"text": rng.choice(TEXTS), "generate": count, "stream": True})
    expect(answer.status == 200, answer)
    found = [pieces async for pieces in connection.pieces()]
    expect(sum(found) == count, f"{sum(found)} pieces of {count}")
    return "streams"


async def breaks_off(connection: Connection, rng: random.Random) -> str:
    """A stream whose reader leaves after a few words."""
    answer = await connection.post("/generate", {"text": rng.choice(TEXTS), "generate": 500, "stream": True})
    expect(answer.status == 200, answer)
    left = rng.randint(1, 10)
    async for _ in connection.pieces():
        left -= 1
        if left <= 0:
            break
    return "broken streams"


async def errs(connection: Connection, rng: random.Random) -> str:
    """A wrong request."""
    answer = await connection.post(rng.choice(("/predict", "/generate")), rng.choice(WRONG))
    expect(answer.status == 422, answer)
    await asyncio.sleep(0.01)
    return "wrong requests"


async def probes(connection: Connection, _rng: random.Random) -> str:
    """A look at how the service is."""
    for path in ("/health", "/ready", "/metrics", "/info"):
        answer = await connection.get(path)
        expect(answer.status == 200, answer)
    await asyncio.sleep(0.1)
    return "probes"


if __name__ == "__main__":
    main()
