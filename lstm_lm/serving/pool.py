"""Threads that run the model, so that the event loop never does, and a limit on concurrent requests."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class OverloadedError(Exception):
    """The request limit is reached. Becomes a 503 with Retry-After."""


class ConcurrencyLimiter:
    """Limits concurrent requests. For the event loop's thread only.

    Args:
        limit: Maximum number of concurrent requests.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.in_use = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for one request.

        Raises:
            OverloadedError: If no slot is free.
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
        workers: Maximum number of threads.
    """

    def __init__(self, workers: int) -> None:
        self._limiter = CapacityLimiter(workers)

    async def run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Call ``function`` in a thread as soon as one is free."""
        return await to_thread.run_sync(function, *arguments, limiter=self._limiter)
