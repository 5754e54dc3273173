"""Generation in slices: nobody waits for a long text, and a text that nobody waits for ends."""

import time
from collections.abc import Iterator

from fastapi import HTTPException, Request

from lstm_lm.inference.engine import Engine
from lstm_lm.inference.spec import SamplingSpec
from lstm_lm.serving.pool import InferencePool

CLIENT_CLOSED_REQUEST = 499


async def generate_words(
    request: Request,
    engine: Engine,
    pool: InferencePool,
    prompt: str,
    sampling: SamplingSpec,
    max_words: int,
    slice_seconds: float,
) -> list[str]:
    """The next words of ``prompt``. After each slice of time the thread goes to whoever waits longest.

    Args:
        request: Asked between slices whether its client is still there.
        engine: Gives the words.
        pool: Where the engine runs.
        prompt: The text to go on from.
        sampling: How each word is chosen.
        max_words: Most words to give.
        slice_seconds: Length of a slice; a slice holds at least one word.

    Raises:
        HTTPException: 499, which nobody reads, if the client hung up.
    """
    words: list[str] = []
    stream = await pool.run(engine.stream, prompt, sampling, max_words)
    while await pool.run(_advance, stream, words, slice_seconds):
        if await request.is_disconnected():
            raise HTTPException(CLIENT_CLOSED_REQUEST)
    return words


def _advance(stream: Iterator[str], words: list[str], seconds: float) -> bool:
    """Move words from ``stream`` to ``words`` for ``seconds``; False when there are no more."""
    end = time.monotonic() + seconds
    for word in stream:
        words.append(word)
        if time.monotonic() >= end:
            return True
    return False
