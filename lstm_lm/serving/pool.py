"""Threads that run the model, so that the event loop never does, and places for those who wait for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class OverloadedError(Exception):
    """As many requests wait as may wait. Becomes a 503 with Retry-After."""


class ConcurrencyLimiter:
    """A bounded number of requests at one time, all of them on the event loop's thread.

    Args:
        limit: Most requests.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.in_use = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a place for a request.

        Raises:
            OverloadedError: If all places are taken.
        """
        if self.in_use >= self._limit:
            raise OverloadedError
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1


class InferenceThreadPool:
    """A bounded number of threads, first come first served.

    Args:
        workers: Threads that run at one time.
    """

    def __init__(self, workers: int) -> None:
        self._threads = CapacityLimiter(workers)

    async def run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """The result of ``function``, run in a thread as soon as one is free."""
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)
