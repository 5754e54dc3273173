"""Generation of many clients at once: all of them move on by a word with each step of the model."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, Request

from lstm_lm.inference.backend import Backend
from lstm_lm.inference.continuing import Continuation, next_words, read_together

CLIENT_CLOSED_REQUEST = 499

Result = TypeVar("Result")


class Words:
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

    def __aiter__(self) -> "Words":
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
class _Member:
    text: Continuation
    words: Words = field(default_factory=Words)

    def hand_over(self, news: str | Exception | None) -> bool:
        """Give the client a word, an error or the end; whether the text goes on."""
        if news is not None:
            self.words.put(news)
        if news is None or self.text.ended:
            self.words.put(StopAsyncIteration())
        return self.words.wanted and isinstance(news, str) and not self.text.ended


class Generations:
    """Texts that go on together, in rounds: a step of the model reads a word of each, and each chooses its next.

    A text may join before any round. One whose words nobody takes any more is dropped after the next. The rounds run
    in one thread while there are texts, and the event loop hands out the words of a round during the next.

    Args:
        backend: Runs the network.
        max_batch: Most texts in a round; of more than these each has its turn.
    """

    def __init__(self, backend: Backend, max_batch: int) -> None:
        self._backend = backend
        self._max_batch = max_batch
        self._members: list[_Member] = []
        self._thread = CapacityLimiter(1)
        self._rounds: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Texts that go on at present."""
        return len(self._members)

    @contextmanager
    def words_of(self, text: Continuation) -> Iterator[Words]:
        """The words of ``text`` as they come, to its end or to an exception; leaving the context ends it at once."""
        member = _Member(text)
        self._members.append(member)
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._run())
        try:
            yield member.words
        finally:
            member.words.wanted = False

    async def _run(self) -> None:
        try:
            while self._members:
                batch = self._members[: self._max_batch]
                news: Sequence[str | Exception | None]
                try:
                    texts = [member.text for member in batch]
                    news = await to_thread.run_sync(_read_and_choose, self._backend, texts, limiter=self._thread)
                except Exception as error:
                    news = [error] * len(batch)
                # whoever had to wait is first in the next round
                going_on = [member for member, word in zip(batch, news, strict=True) if member.hand_over(word)]
                self._members = self._members[len(batch) :] + going_on
        finally:
            self._rounds = None


def _read_and_choose(backend: Backend, texts: Sequence[Continuation]) -> list[str | None]:
    if unread := [text for text in texts if text.unread]:
        read_together(backend, unread)
    # without top-k this looks at the whole vocabulary, 2 ms a text and more: it is not for the event loop
    return next_words(texts)


async def unless_hung_up(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
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
