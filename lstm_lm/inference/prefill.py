"""Forward passes over texts: prefill of all but the last token, then a batched step for the last one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.backend import Backend, State, stack_states, unstack_state
from lstm_lm.inference.logits import softmax

if TYPE_CHECKING:
    from lstm_lm.inference.prefix_cache import PrefixCache

_STRIDE = 32  # tokens between two stored states of a long text, for edits in its middle


@dataclass(frozen=True, eq=False)
class NextToken:
    """The distribution of the next token. Requests for the same text share it: do not modify its arrays."""

    logits: NDArray[np.float32]
    """Logits (V,)."""

    @cached_property
    def probs(self) -> NDArray[np.float64]:
        """Probabilities (V,), read-only: computed once, as each letter of a word needs them."""
        probs = softmax(self.logits)
        probs.setflags(write=False)
        return probs


@dataclass(frozen=True)
class ModelOutput:
    """The network's output after a text."""

    next_token: NextToken
    """Distribution of the token after it."""
    state: State
    """State after the text, batch size 1."""
    features: NDArray[np.float32] | None = None
    """Hidden features of the last layer after every token (T, H), if requested."""


class PrefillTask:
    """A forward pass over a text: call :meth:`prefill`, then :func:`decode_last_tokens`, then read :attr:`output`.

    The last token is processed separately, because its step can be batched with those of other texts.

    Args:
        cache: Provides the initial state and stores the results.
        ids: Tokens of the text, at least one.
        features: Whether to return the features of every token.
    """

    def __init__(self, cache: "PrefixCache", ids: Sequence[int], features: bool) -> None:
        self._cache = cache
        self._ids = np.array([ids], dtype=np.int64)
        self._return_features = features
        self._keys = cache.prefix_keys(ids)
        match = cache.match(self._keys, features)
        self._num_done, self._state, self._chunks = match.length, match.state, list(match.features)
        self._next_token = match.next_token

    @property
    def is_complete(self) -> bool:
        """Whether :attr:`output` is available."""
        return self._next_token is not None

    @cached_property
    def output(self) -> ModelOutput:
        """The network's output after the text."""
        assert self._next_token is not None, "call decode_last_tokens first"
        features = np.concatenate(self._chunks) if self._return_features else None
        return ModelOutput(self._next_token, self._state, features)

    @property
    def prefilled_features(self) -> NDArray[np.float32]:
        """Features of all but the last token (T - 1, H), if requested, once :meth:`prefill` is done."""
        return np.concatenate(self._chunks)[: self._ids.shape[1] - 1]

    @property
    def num_prefill_tokens(self) -> int:
        """Number of tokens that :meth:`prefill` will process."""
        return 0 if self.is_complete else self._ids.shape[1] - 1 - self._num_done

    @property
    def last_id(self) -> int:
        """The last token."""
        return int(self._ids[0, -1])

    @property
    def state(self) -> State:
        """State before the last token, once :meth:`prefill` is done."""
        return self._state

    def prefill(self, backend: Backend, max_tokens: int | None = None) -> None:
        """Process all but the last token.

        Args:
            backend: Runs the network.
            max_tokens: Stop after this many tokens, rounded up to the next stored state; ``None`` is no limit.
        """
        if self.is_complete:
            return
        if not self._state:
            self._state = backend.initial_state(1)
        last = self._ids.shape[1] - 1
        # intermediate states are for edits in the middle; without a cache there are none
        stride = _STRIDE if self._cache.size else max_tokens or last + 1
        end = last if max_tokens is None else min(self._num_done + max_tokens, last)
        while self._num_done < end:
            stop = min(self._num_done - self._num_done % stride + stride, last)
            features, _, self._state = backend.prefill(self._ids[:, self._num_done : stop], self._state)
            self._num_done = stop
            self._store(features)

    def complete(self, logits: NDArray[np.float32], state: State, features: NDArray[np.float32]) -> None:
        """Store the network's output for the last token.

        Args:
            logits: Logits after it (V,).
            state: State after it, batch size 1.
            features: Its features (1, H).
        """
        self._num_done, self._state = self._ids.shape[1], state
        self._next_token = NextToken(copy_view(logits))
        self._store(features, self._next_token)

    def _store(self, features: NDArray[np.float32], next_token: NextToken | None = None) -> None:
        if self._cache.size:
            features = self._cache.store(self._keys[self._num_done - 1], self._state, features, next_token)
        self._chunks.append(features)


def decode_last_tokens(backend: Backend, tasks: Sequence[PrefillTask]) -> None:
    """Process the last token of every task in one step. Complete tasks are skipped.

    Args:
        backend: Runs the network.
        tasks: Tasks after :meth:`PrefillTask.prefill`.
    """
    pending = [task for task in tasks if not task.is_complete]
    if not pending:
        return
    assert not any(task.num_prefill_tokens for task in pending), "call prefill first"
    ids = np.array([[task.last_id] for task in pending], dtype=np.int64)
    logits, state = backend.step(ids, stack_states([task.state for task in pending]))
    for task, row, own_state in zip(pending, logits, unstack_state(state, len(pending)), strict=True):
        task.complete(row, own_state, backend.last_features(own_state))


def copy_view(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Copy ``array`` if it is a view, which would keep its entire batch alive."""
    return array if array.base is None else array.copy()
