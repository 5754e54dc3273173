"""The signals that ask a process to save and stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C, and what schedulers and terminals send: SLURM sends SIGUSR1 or SIGTERM, submitit SIGUSR2."""


def handled_signals() -> tuple[signal.Signals, ...]:
    """The signals that this process handles: ``nohup`` ignores SIGHUP, and so do we then. Other threads have none."""
    if threading.current_thread() is not threading.main_thread():
        return ()
    ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return tuple(number for number in STOP_SIGNALS if number != signal.SIGHUP or not ignores_hangup)


@contextmanager
def exit_on_stop_signals() -> Iterator[None]:
    """Turn signals that would kill the process silently into ``SystemExit``: jobs still report their status."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        raise SystemExit(128 + number)

    replaced = [number for number in handled_signals() if signal.getsignal(number) == signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)
