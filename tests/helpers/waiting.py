"""Wait for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = 240
"""Seconds; only a deadlock gets there, however busy the machine is."""

Result = TypeVar("Result")


def wait_until(condition: Callable[[], Result], what: object = "the condition never held") -> Result:
    """Poll ``condition`` until it is true, and return its value; fails with ``what`` after ``DEADLINE``."""
    end = time.monotonic() + DEADLINE
    while not (result := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.005)
    return result
