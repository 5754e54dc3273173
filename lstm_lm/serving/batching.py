"""Work for many clients in rounds: what one of them needs of the network, all that are there get in one step."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread


class BatchItem(Protocol):
    """A client's part in the rounds."""

    def should_continue(self, result: Any, /) -> bool:
        """Whether to be in another round after one that brought ``result``; asked in the thread of the rounds."""
        ...

    def deliver(self, result: Any, should_continue: bool, /) -> None:
        """Give the client what a round brought, or the exception that ended it; called in the event loop's thread."""
        ...


M = TypeVar("M", bound=BatchItem)


class DynamicBatcher(Generic[M]):
    """One round after the other, in one thread, as long as there are members.

    Nobody waits for company: a round begins as soon as the one before has ended, with whoever is there, while the
    event loop hands out what that one brought.

    Args:
        work: A round, run in the thread: what it brings each member, in their order.
        max_batch: Most members in a round; of more than these each has its turn.
        on_batch: Told the number of members of each round, in the thread.
    """

    def __init__(
        self, work: Callable[[Sequence[M]], Sequence[Any]], max_batch: int, on_batch: Callable[[int], None]
    ) -> None:
        self._work = work
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._lock = Lock()
        self._waiting: deque[M] = deque()
        self._batch: list[M] = []
        # threads that run Python side by side would only take turns, and wait long for each other
        self._thread = CapacityLimiter(1)
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Members at present."""
        return len(self._waiting) + len(self._batch)

    def add(self, member: M) -> None:
        """Let ``member`` be in the next round; from the event loop's thread."""
        with self._lock:
            self._waiting.append(member)
            if self._running is None:
                loop = asyncio.get_running_loop()
                self._running = loop.create_task(to_thread.run_sync(self._run, loop, limiter=self._thread))

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._take():
            self._on_batch(len(self._batch))
            result: Sequence[Any]
            try:
                result = self._work(self._batch)
                going_on = [member.should_continue(own) for member, own in zip(self._batch, result, strict=True)]
            except Exception as error:  # nobody is left waiting for a round that broke
                result, going_on = [error] * len(self._batch), [False] * len(self._batch)
            loop.call_soon_threadsafe(_hand_out, self._batch, result, going_on)
            with self._lock:
                # whoever had to wait is first in the next round
                self._waiting += [member for member, stays in zip(self._batch, going_on, strict=True) if stays]
                self._batch = []

    def _take(self) -> bool:
        """Whether there is another round; its members are no longer waiting."""
        with self._lock:
            self._batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
            if not self._batch:
                self._running = None
            return bool(self._batch)


def _hand_out(batch: Sequence[BatchItem], result: Sequence[Any], going_on: Sequence[bool]) -> None:
    for member, own, stays in zip(batch, result, going_on, strict=True):
        member.deliver(own, stays)
