"""Generation for many clients at once: all of them move on by a word with each step of the model."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import HTTPException, Request

from lstm_lm.inference.backend import Backend
from lstm_lm.inference.sequences import ActiveSequence, sample_next, step_batch
from lstm_lm.serving.batching import DynamicBatcher

CLIENT_CLOSED_REQUEST = 499

Result = TypeVar("Result")


class WordStream:
    """The words of a text on their way to its client: iterating gives all that are there, at least one, each time.

    Ends with the text, or raises what came in place of a word.
    """

    def __init__(self) -> None:
        self._coming: asyncio.Queue[str | Exception] = asyncio.Queue()
        self._end: Exception | None = None
        self.wanted = True

    def put(self, word: str | Exception) -> None:
        """Add a word, or an exception, which is the last to come."""
        self._coming.put_nowait(word)

    def __aiter__(self) -> "WordStream":
        return self

    async def __anext__(self) -> list[str]:
        words: list[str] = []
        while self._end is None and not (words and self._coming.empty()):
            word = await self._coming.get()
            if isinstance(word, str):
                words.append(word)
            else:
                self._end = word
        if words:
            return words
        assert self._end is not None, "words go on until there is an end"
        raise self._end


@dataclass(frozen=True)
class _GenerationItem:
    text: ActiveSequence
    words: WordStream = field(default_factory=WordStream)

    def should_continue(self, result: str | Exception | None) -> bool:
        return self.words.wanted and isinstance(result, str) and not self.text.finished

    def deliver(self, result: str | Exception | None, should_continue: bool) -> None:
        if result is not None:
            self.words.put(result)
        if not should_continue:
            self.words.put(StopAsyncIteration())


class ContinuousBatcher:
    """Texts that go on together: a round reads a word of each, and each chooses its next.

    One whose words nobody takes any more is dropped after the next round.

    Args:
        backend: Runs the network.
        max_batch: Most texts in a round.
        on_batch: Told the number of texts of each round.
    """

    def __init__(self, backend: Backend, max_batch: int, on_batch: Callable[[int], None]) -> None:
        self._backend = backend
        self._rounds = DynamicBatcher[_GenerationItem](self._read_and_choose, max_batch, on_batch)

    def __len__(self) -> int:
        """Texts that go on at present."""
        return len(self._rounds)

    @contextmanager
    def stream(self, text: ActiveSequence) -> Iterator[WordStream]:
        """The words of ``text`` as they come, to its end or to an exception; leaving the context ends it at once."""
        member = _GenerationItem(text)
        self._rounds.add(member)
        try:
            yield member.words
        finally:
            member.words.wanted = False

    def _read_and_choose(self, members: Sequence[_GenerationItem]) -> list[str | None]:
        texts = [member.text for member in members]
        if needs_step := [text for text in texts if text.needs_step]:
            step_batch(self._backend, needs_step)
        # without top-k this looks at the whole vocabulary, 2 ms a text and more: it is not for the event loop
        return sample_next(texts)


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of ``work``, which is cancelled as soon as the client hangs up.

    Raises:
        HTTPException: 499, which nobody reads, if the client hung up.
    """
    working, hung_up = asyncio.create_task(work), asyncio.create_task(_hung_up(request))
    tasks = {working, hung_up}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HTTPException(CLIENT_CLOSED_REQUEST)
        return working.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
