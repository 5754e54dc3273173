"""The interface of the backends that run the network for the engine."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

State: TypeAlias = tuple[NDArray[np.float32], ...]
"""The tensors of every layer's state in turn, such as hidden and cell state: arrays (B, H of that layer)."""


class Backend(Protocol):
    """Runs the network. Thread-safe, because states are values."""

    @property
    def vocab_size(self) -> int:
        """Vocabulary size V."""
        ...

    def initial_state(self, batch_size: int) -> State:
        """The state before the first token of ``batch_size`` sequences."""
        ...

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """Process a batch of tokens.

        Args:
            input_ids: (B, T), T at least 1, each in [0, V).
            state: State before the tokens. Not modified.

        Returns:
            Logits after the last token (B, V), and the state after it.
        """
        ...

    def last_features(self, state: State) -> NDArray[np.float32]:
        """The features of the last layer after the last token (B, H), which are a part of its state."""
        ...

    def prefill(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """Process the tokens of one sequence and return the features of each.

        Args:
            input_ids: (1, T), T at least 1, each in [0, V).
            state: State before the tokens. Not modified.

        Returns:
            Hidden features of the last layer after every token (T, H), logits after the last token (V,), and the state
            after it.
        """
        ...


def stack_states(states: Sequence[State]) -> State:
    """Batch the states of several sequences, in order."""
    return states[0] if len(states) == 1 else tuple(map(np.concatenate, zip(*states, strict=True)))


def unstack_state(state: State, batch_size: int) -> list[State]:
    """Split a batched state into states of batch size 1."""
    return [tuple(array[row : row + 1] for array in state) for row in range(batch_size)]
