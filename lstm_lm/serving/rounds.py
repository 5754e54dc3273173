"""Work for many clients in rounds: what one of them needs of the network, all that are there get in one step."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread


class Member(Protocol):
    """A client's part in the rounds."""

    def hand_over(self, news: Any) -> bool:
        """Take what a round brought, or the exception that ended it; whether to be in the next one."""
        ...


M = TypeVar("M", bound=Member)


class Rounds(Generic[M]):
    """One round after the other, in one thread, as long as there are members.

    Nobody waits for company: a round begins as soon as the one before has ended, with whoever is there. The event loop
    hands out what a round brought during the next.

    Args:
        work: A round, run in the thread: what it brings each member, in their order.
        max_batch: Most members in a round; of more than these each has its turn.
        observe: Told the number of members of each round.
    """

    def __init__(
        self, work: Callable[[Sequence[M]], Sequence[Any]], max_batch: int, observe: Callable[[int], None]
    ) -> None:
        self._work = work
        self._max_batch = max_batch
        self._observe = observe
        self._members: list[M] = []
        # threads that run Python side by side would only take turns, and wait long for each other
        self._thread = CapacityLimiter(1)
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Members at present."""
        return len(self._members)

    def add(self, member: M) -> None:
        """Let ``member`` be in the next round; from the event loop's thread."""
        self._members.append(member)
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._members:
                batch = self._members[: self._max_batch]
                self._observe(len(batch))
                news: Sequence[Any]
                try:
                    news = await to_thread.run_sync(self._work, batch, limiter=self._thread)
                except Exception as error:
                    news = [error] * len(batch)
                # whoever had to wait is first in the next round
                going_on = [member for member, own in zip(batch, news, strict=True) if member.hand_over(own)]
                self._members = self._members[len(batch) :] + going_on
        finally:
            self._running = None
