"""Prefix cache: network states after recent prefixes, so that each word added to a text costs one step.

An entry depends on its tokens only. Results are the same with and without the cache, and for every user. Keys are
digests, so the words themselves are not stored.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.backend import Backend, State
from lstm_lm.inference.prefill import ModelOutput, NextToken, PrefillTask, copy_view, decode_last_tokens

_MAX_NEXT_TOKENS = 32  # texts with logits and probabilities: 400 kB each at 33,278 words, where a state takes 10 kB


@dataclass(frozen=True)
class PrefixMatch:
    """The longest cached prefix of a text."""

    length: int = 0
    """Number of tokens; 0 if no prefix is cached."""
    state: State = ()
    """State after the prefix."""
    features: list[NDArray[np.float32]] = field(default_factory=list)
    """Features of its tokens in chunks, if requested."""
    next_token: NextToken | None = None
    """Distribution after the prefix, if it is the complete text."""


@dataclass(frozen=True)
class _Entry:
    state: State
    features: NDArray[np.float32]
    """Features of the tokens after the prefix that this entry extends, (t, H)."""


class PrefixCache:
    """An LRU cache of the states after token prefixes. Thread-safe.

    The arrays that it returns are shared and must not be modified.

    Args:
        size: Maximum number of prefixes; 0 disables the cache.
    """

    def __init__(self, size: int) -> None:
        assert size >= 0, f"a cache cannot hold {size} prefixes"
        self.size = size
        self.hits = 0
        """Lookups that matched more than the first token, which is the same for all texts."""
        self.misses = 0
        """All other lookups."""
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._next_tokens: OrderedDict[bytes, NextToken] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def forward(self, backend: Backend, ids: Sequence[int], features: bool = False) -> ModelOutput:
        """Run the network on a text, starting from its longest cached prefix. Arguments as in :meth:`lookup`."""
        task = self.lookup(ids, features)
        task.prefill(backend)
        decode_last_tokens(backend, [task])
        return task.output

    def lookup(self, ids: Sequence[int], features: bool = False) -> PrefillTask:
        """Start a forward pass from the longest cached prefix.

        Args:
            ids: Tokens of the text, at least one.
            features: Return the features of every token.
        """
        return PrefillTask(self, ids, features)

    def prefix_keys(self, ids: Sequence[int]) -> list[bytes]:
        """The key of each prefix of a text, shortest first; none if the cache is disabled.

        A key is a 128-bit digest, so that a collision cannot be constructed.
        """
        digest = hashlib.blake2b(digest_size=16)
        keys = []
        for index in ids if self.size else ():
            digest.update(index.to_bytes(4, "little"))
            keys.append(digest.digest())
        return keys

    def match(self, keys: Sequence[bytes], features: bool) -> PrefixMatch:
        """Find the longest cached prefix, and mark it as used.

        Args:
            keys: Keys of the text's prefixes, from :meth:`prefix_keys`.
            features: Whether the features of every token are needed.
        """
        if not keys:
            return PrefixMatch()
        with self._lock:
            next_token = self._next_tokens.get(keys[-1])
            longest = len(keys) if next_token is not None else len(keys) - 1
            for length in range(longest, 0, -1):
                if keys[length - 1] not in self._entries:
                    continue
                chunks = self._feature_chunks(keys[:length]) if features else []
                if chunks is not None:
                    self._mark_used(keys[:length])
                    whole = length == len(keys)
                    self._count(whole or length > 1)
                    state = self._entries[keys[length - 1]].state
                    return PrefixMatch(length, state, chunks, next_token if whole else None)
            self._count(False)
            return PrefixMatch()

    def store(
        self, key: bytes, state: State, features: NDArray[np.float32], next_token: NextToken | None = None
    ) -> NDArray[np.float32]:
        """Add or replace the entry of a prefix.

        Args:
            key: Key of the prefix.
            state: State after it, batch size 1.
            features: Features of its tokens since the previous entry (t, H).
            next_token: Distribution after it, if known.

        Returns:
            The stored features.
        """
        entry = _Entry(tuple(map(copy_view, state)), copy_view(features))
        with self._lock:
            # replaces an older entry, because the prefix that the older one extends may be evicted
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if next_token is not None:
                self._next_tokens[key] = next_token
                self._next_tokens.move_to_end(key)
            while len(self._entries) > self.size:
                evicted, _ = self._entries.popitem(last=False)
                self._next_tokens.pop(evicted, None)
            while len(self._next_tokens) > _MAX_NEXT_TOKENS:
                self._next_tokens.popitem(last=False)
        return entry.features

    def _feature_chunks(self, keys: Sequence[bytes]) -> list[NDArray[np.float32]] | None:
        """The features of a cached prefix in chunks, or ``None`` if some of them are evicted."""
        chunks: list[NDArray[np.float32]] = []
        length = len(keys)
        while length > 0:
            entry = self._entries.get(keys[length - 1])
            if entry is None:
                return None
            chunks.append(entry.features)
            length -= len(entry.features)
        return chunks[::-1]

    def _mark_used(self, keys: Sequence[bytes]) -> None:
        # the shortest prefix is evicted last: longer ones need its features, and an edit may return to it
        for key in reversed(keys):
            if key in self._entries:
                self._entries.move_to_end(key)
        if keys[-1] in self._next_tokens:
            self._next_tokens.move_to_end(keys[-1])

    def _count(self, hit: bool) -> None:
        self.hits += hit
        self.misses += not hit
