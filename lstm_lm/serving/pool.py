"""Threads that run the model, so that the event loop never does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class PoolFullError(Exception):
    """As many requests wait as may wait. Becomes a 503 with Retry-After."""


class InferencePool:
    """A bounded number of threads, first come first served, and a bounded number of requests that wait for them.

    Args:
        workers: Threads that run at one time.
        max_waiting: Requests beyond these that may wait.
    """

    def __init__(self, workers: int, max_waiting: int) -> None:
        self._threads = CapacityLimiter(workers)
        self._places = workers + max_waiting
        self.requests = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places for a request, from the event loop's thread.

        Raises:
            PoolFullError: If all places are taken.
        """
        if self.requests >= self._places:
            raise PoolFullError
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    async def run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """The result of ``function``, run in a thread as soon as one is free."""
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)
