"""What the engine needs from whatever runs the network."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

State: TypeAlias = tuple[NDArray[np.float32], ...]
"""Hidden and cell of every layer in turn, 2L arrays (B, H of that layer); states of several texts join on axis 0."""


class Backend(Protocol):
    """A network that reads words and scores the next one. Safe to call from several threads; states are values."""

    @property
    def vocab_size(self) -> int:
        """Number of words V."""
        ...

    def initial_state(self, batch_size: int) -> State:
        """The state before the first word of ``batch_size`` texts."""
        ...

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """Read words.

        Args:
            input_ids: (B, T), T at least 1, each in [0, V).
            state: State after the words before. Not modified.

        Returns:
            Logits of the word after the last one (B, V), and the state after the last one.
        """
        ...

    def read(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """Read words of one text, and keep what the network makes of each.

        Args:
            input_ids: (1, T), T at least 1, each in [0, V).
            state: State after the words before. Not modified.

        Returns:
            Hidden features of the last layer after every word (T, H), logits of the word after the last one (V,), and
            the state after the last one.
        """
        ...


def stack_states(states: Sequence[State]) -> State:
    """One state of several texts, in their order."""
    return states[0] if len(states) == 1 else tuple(map(np.concatenate, zip(*states, strict=True)))


def unstack_state(state: State, batch_size: int) -> list[State]:
    """The states of the texts of one, each of batch size 1."""
    return [tuple(array[position : position + 1] for array in state) for position in range(batch_size)]
