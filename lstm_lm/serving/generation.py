"""Continuous batching: each model step advances every active generation by one word."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lstm_lm.inference.backend import Backend
from lstm_lm.inference.sequences import ActiveSequence, sample_next, step_batch
from lstm_lm.serving.batching import DynamicBatcher


class WordStream:
    """The words of one generation as they are sampled: each iteration gives all that are ready, at least one.

    Stops at the end of the generation, or raises the exception that ended it.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | Exception] = asyncio.Queue()
        self._end: Exception | None = None
        self.closed = False
        """Whether the consumer has stopped reading."""

    def put(self, word: str | Exception) -> None:
        """Add a word, or the exception that ends the stream."""
        self._queue.put_nowait(word)

    def __aiter__(self) -> "WordStream":
        return self

    async def __anext__(self) -> list[str]:
        words: list[str] = []
        while self._end is None and not (words and self._queue.empty()):
            word = await self._queue.get()
            if isinstance(word, str):
                words.append(word)
            else:
                self._end = word
        if words:
            return words
        assert self._end is not None, "there are no words, so the stream has ended"
        raise self._end


@dataclass(frozen=True)
class _GenerationItem:
    sequence: ActiveSequence
    words: WordStream = field(default_factory=WordStream)

    def should_continue(self, result: str | Exception | None) -> bool:
        return not self.words.closed and isinstance(result, str) and not self.sequence.finished

    def deliver(self, result: str | Exception | None, should_continue: bool) -> None:
        if result is not None:
            self.words.put(result)
        if not should_continue:
            self.words.put(StopAsyncIteration())


class ContinuousBatcher:
    """Steps all active sequences together and samples each one's next word.

    A sequence without a consumer is dropped after the current step.

    Args:
        backend: Runs the network.
        max_batch: Maximum number of sequences in one step.
        on_batch: Called with each batch's size.
    """

    def __init__(self, backend: Backend, max_batch: int, on_batch: Callable[[int], None]) -> None:
        self._backend = backend
        self._batcher = DynamicBatcher[_GenerationItem](self._step, max_batch, on_batch)

    def __len__(self) -> int:
        """Number of active generations."""
        return len(self._batcher)

    @contextmanager
    def stream(self, sequence: ActiveSequence) -> Iterator[WordStream]:
        """The words of ``sequence`` as they are sampled; leaving the context cancels the rest."""
        item = _GenerationItem(sequence)
        self._batcher.submit(item)
        try:
            yield item.words
        finally:
            item.words.closed = True

    def _step(self, items: Sequence[_GenerationItem]) -> list[str | None]:
        sequences = [item.sequence for item in items]
        if needs_step := [sequence for sequence in sequences if sequence.needs_step]:
            step_batch(self._backend, needs_step)
        # not in the event loop: without top-k, sampling takes 2 ms or more per sequence
        return sample_next(sequences)
