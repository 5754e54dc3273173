"""Stopping a sweep whose jobs run in worker processes (``hydra/launcher=joblib``).

joblib kills its workers when an exception reaches the main process, so no exception does: the main process waits, and
the workers save their jobs and return.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from lstm_lm.training.signals import handled_signals

_REPEATED = 1.0  # seconds, as in GracefulInterrupt


class WorkerStop:
    """Whether a signal has stopped this worker process: its job ends, and it starts no other."""

    signal_number: int | None = None
    in_job = False

    def install(self) -> None:
        """Handle the signals for the rest of the process; training replaces the handlers while it runs."""
        for number in handled_signals():
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        first, self.signal_number = self.signal_number is None, number
        if first and self.in_job:
            raise SystemExit(128 + number)


worker_stop = WorkerStop()


def in_worker() -> bool:
    """Whether this is a worker process of a parallel sweep."""
    return multiprocessing.current_process().name != "MainProcess"


@contextmanager
def wait_for_workers() -> Iterator[list[int]]:
    """Pass a signal on to the workers and wait for them; a second one, a second later, stops at once.

    Yields:
        A list that gets the number of the signal.
    """
    received: list[int] = []
    received_at = 0.0

    def receive(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal received_at
        if received:
            if time.monotonic() - received_at > _REPEATED:
                raise KeyboardInterrupt
            return
        received.append(number)
        received_at = time.monotonic()
        print("stopping: the running jobs are saved; send the signal again to stop immediately", file=sys.stderr)
        for process_id in _worker_ids():
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGTERM)

    previous = {number: signal.signal(number, receive) for number in handled_signals()}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _worker_ids() -> list[int]:
    loky = sys.modules.get("joblib.externals.loky.reusable_executor")
    executor = getattr(loky, "_executor", None)
    return list(getattr(executor, "_processes", None) or {})
