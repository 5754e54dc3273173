"""Texts that begin alike are read once: a text that grew by a word costs one step of the network.

What is kept belongs to words, not to a user: whoever sends the same words gets the same answer, cached or not. Keys are
digests, so that the words themselves are not kept.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.backend import Backend, State, stack_states, unstack_state

_STRIDE = 32  # words between two states that are kept of a text that came at once, for edits in its middle
_LOGITS = 32  # texts whose answer is kept too: 133 kB each at 33,278 words, where a state has 10 kB


@dataclass(frozen=True)
class ModelOutput:
    """What the network makes of a text.

    Attributes:
        logits: Of the word after it, (V,).
        state: After it, batch size 1.
        features: Hidden features of the last layer after every word (T, H); ``None`` where they were not asked for.
    """

    logits: NDArray[np.float32]
    state: State
    features: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class _Prefix:
    state: State
    features: NDArray[np.float32]  # of the words since the prefix that it was read from, (t, H)


class PrefixCache:
    """The states after recent prefixes of texts, the least recently used dropped first. Safe to call from threads.

    Arrays that it hands out are shared: nobody may write to them.

    Args:
        size: Most prefixes to keep; 0 keeps nothing.
    """

    def __init__(self, size: int) -> None:
        assert size >= 0, f"a cache cannot hold {size} prefixes"
        self.size = size
        self.hits = 0
        """Texts of which more was known than that they begin."""
        self.misses = 0
        """Texts that were read from their beginning."""
        self._prefixes: OrderedDict[bytes, _Prefix] = OrderedDict()
        self._logits: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._prefixes)

    def read(self, backend: Backend, ids: Sequence[int], features: bool = False) -> ModelOutput:
        """Read a whole text, as much of it as is not known: :meth:`open` and all that follows."""
        text = self.lookup(ids, features)
        text.prefill(backend)
        decode_last_tokens(backend, [text])
        return text.reading

    def lookup(self, ids: Sequence[int], features: bool = False) -> "PrefillTask":
        """A text to be read, from the longest of its prefixes that is known.

        Args:
            ids: The text from its beginning, at least one word.
            features: Give the features of every word too.
        """
        return PrefillTask(self, ids, features)

    def _known(
        self, keys: Sequence[bytes], features: bool
    ) -> tuple[int, list[NDArray[np.float32]], State, NDArray[np.float32] | None]:
        """The longest prefix that is known: its length, the features of its words, its state, and its logits if it is
        the whole text.
        """
        if not keys:
            return 0, [], (), None
        with self._lock:
            logits = self._logits.get(keys[-1])
            longest = len(keys) if logits is not None else len(keys) - 1
            for length in range(longest, 0, -1):
                if keys[length - 1] not in self._prefixes:
                    continue
                parts = self._features(keys[:length]) if features else []
                if parts is not None:
                    self._used(keys[:length])
                    whole = length == len(keys)
                    self._count(whole or length > 1)
                    return length, parts, self._prefixes[keys[length - 1]].state, logits if whole else None
            self._count(False)
            return 0, [], (), None

    def _features(self, keys: Sequence[bytes]) -> list[NDArray[np.float32]] | None:
        """The features of a known prefix in parts, or ``None`` where some of them are gone."""
        parts: list[NDArray[np.float32]] = []
        length = len(keys)
        while length > 0:
            prefix = self._prefixes.get(keys[length - 1])
            if prefix is None:
                return None
            parts.append(prefix.features)
            length -= len(prefix.features)
        return parts[::-1]

    def _used(self, keys: Sequence[bytes]) -> None:
        # the shortest is dropped last: the longer ones need its features, and an edit may go back to it
        for key in reversed(keys):
            if key in self._prefixes:
                self._prefixes.move_to_end(key)
        if keys[-1] in self._logits:
            self._logits.move_to_end(keys[-1])

    def _count(self, hit: bool) -> None:
        self.hits += hit
        self.misses += not hit

    def _keep(
        self, key: bytes, state: State, features: NDArray[np.float32], logits: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Keep what is known of a prefix; gives back its features."""
        prefix = _Prefix(tuple(map(_own, state)), _own(features))
        with self._lock:
            # in place of one that is there: the prefix that this one was read from is known, that one's may be gone
            self._prefixes[key] = prefix
            self._prefixes.move_to_end(key)
            if logits is not None:
                self._logits[key] = _own(logits)
                self._logits.move_to_end(key)
            while len(self._prefixes) > self.size:
                dropped, _ = self._prefixes.popitem(last=False)
                self._logits.pop(dropped, None)
            while len(self._logits) > _LOGITS:
                self._logits.popitem(last=False)
        return prefix.features


class PrefillTask:
    """A text on its way through the network: :meth:`prefill`, then :func:`decode_last_tokens`, then ``reading``.

    The last word is read by itself: that step can be shared with other texts, and it is the word that changes next.

    Args:
        cache: What is known; keeps what is read.
        ids: The text from its beginning, at least one word.
        features: Whether to keep the features of every word.
    """

    def __init__(self, cache: PrefixCache, ids: Sequence[int], features: bool) -> None:
        self._cache = cache
        self._ids = np.array([ids], dtype=np.int64)
        self._wants_features = features
        self._keys = _keys(ids) if cache.size else []
        self._start, self._parts, self._state, self._logits = cache._known(self._keys, features)
        self._last = len(ids) - 1

    @property
    def is_decoded(self) -> bool:
        """Whether the last word has been read too."""
        return self._logits is not None

    @cached_property
    def reading(self) -> ModelOutput:
        """What the network makes of the text."""
        assert self._logits is not None, "the last word has to be read first"
        return ModelOutput(self._logits, self._state, np.concatenate(self._parts) if self._wants_features else None)

    @property
    def num_prefill_tokens(self) -> int:
        """Words that :meth:`prefill` will read."""
        return 0 if self.is_decoded else self._last - self._start

    def prefill(self, backend: Backend, max_tokens: int | None = None) -> None:
        """Read all but the last word.

        Args:
            backend: Runs the network.
            max_tokens: Stop after this many words, rounded up to where a state is kept; ``None`` reads to the end.
        """
        if self.is_decoded:
            return
        if not self._state:
            self._state = backend.initial_state(1)
        # states on the way are for edits in the middle; where nothing is kept it is all one stretch
        stride = _STRIDE if self._cache.size else max_tokens or self._last + 1
        begin = self._start
        while self._start < self._last and (max_tokens is None or self._start - begin < max_tokens):
            stop = min(self._start - self._start % stride + stride, self._last)
            every, _, self._state = backend.read(self._ids[:, self._start : stop], self._state)
            self._start = stop
            self._keep(every)

    def _take(self, logits: NDArray[np.float32], state: State) -> None:
        """The last word has been read."""
        self._start, self._state = self._ids.shape[1], state
        # after a single word, the features are the last layer's hidden state
        self._keep(state[-2], logits)
        self._logits = logits

    def _keep(self, features: NDArray[np.float32], logits: NDArray[np.float32] | None = None) -> None:
        if self._cache.size:
            features = self._cache._keep(self._keys[self._start - 1], self._state, features, logits)
        self._parts.append(features)


def decode_last_tokens(backend: Backend, texts: Sequence[PrefillTask]) -> None:
    """Read the last word of every text, all in one step; a text that was known as a whole needs nothing.

    Args:
        backend: Runs the network.
        texts: All of them have caught up.
    """
    unread = [text for text in texts if not text.is_decoded]
    if not unread:
        return
    assert not any(text.num_prefill_tokens for text in unread), "a text has to catch up first"
    ids = np.concatenate([text._ids[:, -1:] for text in unread])
    logits, state = backend.step(ids, stack_states([text._state for text in unread]))
    for text, row, own_state in zip(unread, logits, unstack_state(state, len(unread)), strict=True):
        text._take(row, own_state)


def _keys(ids: Sequence[int]) -> list[bytes]:
    """A key for each prefix of a text, the shortest first. A digest of 128 bits: nobody can make two texts meet."""
    digest = hashlib.blake2b(digest_size=16)
    keys = []
    for index in ids:
        digest.update(index.to_bytes(4, "little"))
        keys.append(digest.digest())
    return keys


def _own(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same numbers in memory of their own: a view would keep the whole batch that it was a part of."""
    return array if array.base is None else array.copy()
