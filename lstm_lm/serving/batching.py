"""Dynamic batching: waiting requests share each model step."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread


class BatchItem(Protocol):
    """One request in a :class:`DynamicBatcher`."""

    def should_continue(self, result: Any, /) -> bool:
        """Whether to join another batch after one that returned ``result``; called in the batch thread."""
        ...

    def deliver(self, result: Any, should_continue: bool, /) -> None:
        """Pass on the batch's result, or the exception that ended it; called in the event loop's thread."""
        ...


Item = TypeVar("Item", bound=BatchItem)


class DynamicBatcher(Generic[Item]):
    """Runs one batch after another in one thread, as long as items are queued.

    No item waits for a batch to fill: a batch starts with all queued items as soon as the previous one ends, while the
    event loop delivers that one's results.

    Args:
        run_batch: Returns one result per item, in their order; called in the thread.
        max_batch: Largest batch; further items wait for a later batch.
        on_batch: Called with each batch's size, in the thread.
    """

    def __init__(
        self, run_batch: Callable[[Sequence[Item]], Sequence[Any]], max_batch: int, on_batch: Callable[[int], None]
    ) -> None:
        self._run_batch = run_batch
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._lock = Lock()
        self._queue: deque[Item] = deque()
        self._batch: list[Item] = []
        # more threads that run Python would only contend for the interpreter lock
        self._limiter = CapacityLimiter(1)
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Number of items queued or in the current batch."""
        return len(self._queue) + len(self._batch)

    def submit(self, item: Item) -> None:
        """Queue ``item`` for the next batch; call it in the event loop's thread."""
        with self._lock:
            self._queue.append(item)
            if self._task is None:
                loop = asyncio.get_running_loop()
                self._task = loop.create_task(to_thread.run_sync(self._run, loop, limiter=self._limiter))

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._next_batch():
            self._on_batch(len(self._batch))
            results: Sequence[Any]
            try:
                results = self._run_batch(self._batch)
                flags = [item.should_continue(result) for item, result in zip(self._batch, results, strict=True)]
            except Exception as error:  # every item of a failed batch gets the error
                results, flags = [error] * len(self._batch), [False] * len(self._batch)
            loop.call_soon_threadsafe(_deliver, self._batch, results, flags)
            with self._lock:
                # at the end of the queue, so that waiting items are in the next batch first
                self._queue += [item for item, continues in zip(self._batch, flags, strict=True) if continues]
                self._batch = []

    def _next_batch(self) -> bool:
        """Move queued items into the batch; false if there are none."""
        with self._lock:
            self._batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
            if not self._batch:
                self._task = None
            return bool(self._batch)


def _deliver(batch: Sequence[BatchItem], results: Sequence[Any], flags: Sequence[bool]) -> None:
    for item, result, should_continue in zip(batch, results, flags, strict=True):
        item.deliver(result, should_continue)
