"""Steps of the network that several callers share."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.backend import Backend, State
from lstm_lm.inference.continuing import join, split


class SharedSteps:
    """A backend that runs the steps of several threads as one.

    A step reads every weight once, whether for one text or for twenty, and that is most of its time. Nobody waits for
    company: a step that finds the network free runs at once, and whatever arrives meanwhile is the next step.
    Single words, which is what typing and generating need, never wait for a longer text to be read.

    Args:
        backend: Runs the network.
        max_batch: Most texts in one step, unless a single caller brings more.
        observe: Told the number of texts of every step.
    """

    def __init__(self, backend: Backend, max_batch: int = 32, observe: Callable[[int], None] | None = None) -> None:
        self._backend = backend
        self._words = _Lane(backend, max_batch, observe)
        self._texts = _Lane(backend, max_batch, observe)
        self._reading = threading.Lock()

    @property
    def vocab_size(self) -> int:
        """Number of words V."""
        return self._backend.vocab_size

    def initial_state(self, batch_size: int) -> State:
        """The state before the first word of ``batch_size`` texts."""
        return self._backend.initial_state(batch_size)

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """Read words: see ``Backend.step``."""
        lane = self._words if input_ids.shape[1] == 1 else self._texts
        return lane.step(input_ids, state)

    def read(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """Read one text and keep the features: see ``Backend.read``. Shared with nobody, and one text at a time."""
        # several long texts side by side would take the cores from the single words
        with self._reading:
            return self._backend.read(input_ids, state)


@dataclass(eq=False)
class _Call:
    input_ids: NDArray[np.int64]
    state: State
    woken: threading.Event = field(default_factory=threading.Event)
    result: tuple[NDArray[np.float32], State] | None = None
    error: Exception | None = None


class _Lane:
    """Runs one step at a time. The thread whose call is the oldest runs it for all that fit together."""

    def __init__(self, backend: Backend, max_batch: int, observe: Callable[[int], None] | None) -> None:
        self._backend = backend
        self._max_batch = max_batch
        self._observe = observe
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._busy = False

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        call = _Call(input_ids, state)
        with self._lock:
            self._waiting.append(call)
            leads, self._busy = not self._busy, True
        if not leads:
            call.woken.wait()
        if call.result is None and call.error is None:
            self._lead()
        if call.error is not None:
            raise call.error
        assert call.result is not None, "a step ends with a result or an error"
        return call.result

    def _lead(self) -> None:
        with self._lock:
            calls = self._take()
        try:
            self._run(calls)
        except Exception as error:
            for call in calls:
                call.error = error
        with self._lock:
            self._busy = bool(self._waiting)
            # its call has neither result nor error, so it leads
            heir = self._waiting[0] if self._waiting else None
        for call in calls:
            call.woken.set()
        if heir is not None:
            heir.woken.set()

    def _take(self) -> list[_Call]:
        """The oldest call and those that fit to it, oldest first, out of the queue."""
        length, room = self._waiting[0].input_ids.shape[1], self._max_batch
        taken: list[_Call] = []
        for call in self._waiting:
            texts = len(call.input_ids)
            if call.input_ids.shape[1] == length and (texts <= room or not taken):
                taken.append(call)
                room -= texts
        self._waiting = deque(call for call in self._waiting if call not in taken)
        return taken

    def _run(self, calls: list[_Call]) -> None:
        sizes = [len(call.input_ids) for call in calls]
        if self._observe is not None:
            self._observe(sum(sizes))
        logits, state = self._backend.step(
            np.concatenate([call.input_ids for call in calls]), join([call.state for call in calls])
        )
        rows = split((logits,), sizes)
        for call, (own_logits,), own_state in zip(calls, rows, split(state, sizes), strict=True):
            call.result = own_logits, own_state
