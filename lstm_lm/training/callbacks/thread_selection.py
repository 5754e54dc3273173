"""Chooses the number of threads of a run by the time of its own steps, again and again."""

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import mean, median
from typing import Any

import lightning as L
import torch
from typing_extensions import override

from lstm_lm.data.streams import Window

log = logging.getLogger(__name__)

# a block of steps gives one measurement
_BLOCK_STEPS = 3
_BLOCK_SECONDS = 0.2
_RECENT_BLOCKS = 5
_SECONDS_BETWEEN_TRIALS = 120.0
_MAX_COST = 0.01  # of the elapsed time, for the trials of slower counts
_SLOWER = 1.15  # a run that became this much slower tries other counts at once
_FASTER = 0.95  # a count replaces another one if it takes less than this fraction of its time
_CLEAR = 1.3  # one block is enough for a count that takes this multiple, or this fraction, of the time


class ThreadPolicy:
    """Chooses the number of threads of the next step from the times of the steps before.

    Every two minutes, and as soon as the steps become slower, it tries the next smaller and the next larger number for
    a few steps. Another process that needs a core makes a step on all cores wait for the slowest one, so that a single
    thread is faster; when that process ends, all cores are. Trials take at most a hundredth of the time.

    Args:
        counts: The numbers to choose from, ascending.
        threads: The number to start with.

    Attributes:
        threads: The chosen number.
    """

    def __init__(self, counts: Sequence[int], threads: int) -> None:
        self.counts = list(counts)
        self.threads = threads
        self._trial: list[int] = []  # numbers of threads of the next blocks
        self._measured: dict[int, list[float]] = {}  # seconds per token of the blocks of this trial
        self._recent: deque[float] = deque(maxlen=_RECENT_BLOCKS)  # the same of the chosen number
        self._usual: float | None = None  # median of these, once there are enough, the lowest so far
        self._elapsed = self._cost = 0.0
        self._last_trial = 0.0
        self._skip_step = True  # the first step with another number of threads prepares its kernels
        self._block = (0, 0, 0.0)  # steps, tokens, seconds

    @property
    def next_threads(self) -> int:
        """Threads of the next step."""
        return self._trial[0] if self._trial else self.threads

    def add(self, tokens: int, seconds: float) -> None:
        """Count a step that was computed with ``next_threads``.

        Args:
            tokens: Its tokens.
            seconds: Its time.
        """
        self._elapsed += seconds
        if self._trial and self._usual is not None:
            self._cost += seconds - tokens * self._usual
        if self._skip_step:
            self._skip_step = False
            return
        steps, block_tokens, block_seconds = self._block
        self._block = steps + 1, block_tokens + tokens, block_seconds + seconds
        if self._block[0] < _BLOCK_STEPS or self._block[2] < _BLOCK_SECONDS:
            return
        rate = self._block[2] / self._block[1]
        self._block = 0, 0, 0.0
        if self._trial:
            self._end_block(rate)
        else:
            self._recent.append(rate)
            self._watch()

    def _watch(self) -> None:
        """Begin a trial if it is time, or if the steps became slower."""
        if len(self._recent) < _RECENT_BLOCKS:
            return
        now = median(self._recent)
        slower = self._usual is not None and now > _SLOWER * self._usual
        due = self._elapsed - self._last_trial >= _SECONDS_BETWEEN_TRIALS
        if (slower or due) and self._cost <= _MAX_COST * self._elapsed:
            position = self.counts.index(self.threads)
            others = [count for count in self.counts[max(position - 1, 0) : position + 2] if count != self.threads]
            self._trial = [*others, self.threads] * 2
            self._measured = {self.threads: [], **{count: [] for count in others}}
            self._skip_step = True
            self._usual = now
        else:
            self._usual = now if self._usual is None else min(self._usual, now)

    def _end_block(self, rate: float) -> None:
        assert self._usual is not None
        count = self._trial.pop(0)
        self._measured[count].append(rate)
        if rate > _CLEAR * self._usual:
            self._trial = [other for other in self._trial if other != count]
        if set(self._trial) == {self.threads} or _CLEAR * rate < self._usual:
            self._trial = []
        self._skip_step = True
        if self._trial:
            return
        rates = {count: mean(measured) for count, measured in self._measured.items() if measured}
        best = min(rates, key=lambda count: rates[count])
        current = rates.get(self.threads, self._usual)
        if best != self.threads and rates[best] < _FASTER * current:
            log.info(
                "%d instead of %d threads from now on: %s instead of %s tokens/s",
                *(best, self.threads),
                *(f"{1.0 / taken:,.0f}" for taken in (rates[best], current)),
            )
            self.threads = best
        self._recent.clear()
        self._usual = None
        self._cost = max(self._cost, 0.0)  # a trial that was faster is no reason for a longer one
        self._last_trial = self._elapsed


def thread_counts(most: int) -> list[int]:
    """The numbers of threads that a run chooses from: the powers of two below ``most``, and ``most``."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


@contextmanager
def restored_threads() -> Iterator[None]:
    """Restore torch's number of threads at the end."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class ThreadSelection(L.Callback):
    """Applies a :class:`ThreadPolicy` to the steps of a run; does nothing until :meth:`start`.

    Must come before the callbacks that work at the end of a step, so that their time does not count.
    """

    def __init__(self) -> None:
        self._policy: ThreadPolicy | None = None
        self._began = 0.0

    def start(self, most: int, threads: int) -> None:
        """Choose among up to ``most`` threads, beginning with ``threads``."""
        self._policy = ThreadPolicy(thread_counts(most), threads)

    @override
    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        if self._policy is not None:
            torch.set_num_threads(self._policy.next_threads)
            self._began = time.perf_counter()

    @override
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Window, batch_idx: int
    ) -> None:
        if self._policy is not None:
            self._policy.add(batch.target_ids.numel(), time.perf_counter() - self._began)
            torch.set_num_threads(self._policy.threads)  # validations take no part in a trial
