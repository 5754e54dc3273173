"""The components that a mixture adds to the network, each a distribution before every word of a stream.

A component reads a stream in order, a block of words at a time. For each block it gives the probability of the words
that came, the signals that weight it, and its whole distributions on demand. All of these depend on earlier words only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lstm_lm.data.encoding import Ids
from lstm_lm.data.ngram import KneserNeyNgram
from lstm_lm.evaluation.cache import NeuralCache
from lstm_lm.evaluation.neighbours import NeighbourIndex


@dataclass(frozen=True)
class Contribution:
    """One component before each of n words."""

    target_probs: Tensor
    """Probability of the words that came (n,)."""
    mass: Tensor
    """Sum of each distribution (n,): 1, or 0 where the component knows nothing."""
    signals: Tensor
    """What decides its weight (n, F), in the order of the component's ``signals``."""
    add_to: Callable[[Tensor, Tensor], None]
    """Adds the distributions, each times its weight (n,), to a mixture (n, V) in place."""


class Component(Protocol):
    """A component of a mixture."""

    signals: tuple[str, ...]
    """Names of its signals."""

    def read(self, features: Tensor, target_ids: Tensor) -> Contribution:
        """The contribution before each of the next words of the stream, which it learns afterwards.

        Args:
            features: The network's features before every word (n, H).
            target_ids: The words (n,).
        """
        ...


class CacheComponent:
    """The neural cache."""

    signals: tuple[str, ...] = ("cache_best", "cache_log_sum", "cache_concentration", "cache_size")

    def __init__(self, cache: NeuralCache) -> None:
        self._cache = cache
        self._num_read = 0

    def read(self, features: Tensor, target_ids: Tensor) -> Contribution:
        """As in :class:`Component`."""
        weights, words, scores = self._cache.attend(features, target_ids)
        size = torch.arange(self._num_read, self._num_read + len(features), device=features.device).float()
        if self._cache.window:
            size = size.clamp(max=float(self._cache.window))
        self._num_read += len(features)
        known = size > 0
        best, log_sum = scores.amax(dim=1), scores.logsumexp(dim=1)
        signals = torch.stack([best, log_sum, weights.square().sum(dim=1).log(), size.log1p()], dim=1)

        def add_to(mixture: Tensor, shares: Tensor) -> None:
            mixture.scatter_add_(1, words.expand(len(features), -1), weights * shares.unsqueeze(1))

        target_probs = (weights * (words == target_ids.unsqueeze(1))).sum(dim=1)
        return Contribution(target_probs, known.float(), torch.where(known.unsqueeze(1), signals, 0.0), add_to)


class NgramComponent:
    """An n-gram model of train, for one stream.

    Args:
        ngram: The model.
        ids: The stream (N,), of which it reads each word's context only.
    """

    def __init__(self, ngram: KneserNeyNgram, ids: Ids) -> None:
        self._ngram = ngram
        self._contexts = ngram.contexts(ids)
        self._num_read = 0
        lengths = range(1, ngram.order)
        self.signals: tuple[str, ...] = (*(f"ngram_seen_{n}" for n in lengths), *(f"ngram_count_{n}" for n in lengths))

    def read(self, features: Tensor, target_ids: Tensor) -> Contribution:
        """As in :class:`Component`."""
        contexts = self._contexts[self._num_read : self._num_read + len(features)]
        self._num_read += len(features)
        device = features.device
        counts = torch.from_numpy(np.log1p(self._ngram.context_counts(contexts))).to(device)

        def add_to(mixture: Tensor, shares: Tensor) -> None:
            self._ngram.add_to(mixture, contexts, shares)

        probs = torch.from_numpy(self._ngram.probs(contexts, target_ids.cpu().numpy())).float().to(device)
        signals = torch.cat([(counts > 0).float(), counts], dim=1)
        return Contribution(probs, torch.ones_like(probs), signals, add_to)


class NeighbourComponent:
    """Nearest neighbours in train. :meth:`search` comes before the :meth:`read` of the same words.

    Args:
        index: The features of train.
        k: Number of neighbours.
        probes: Number of cells that are searched.
        theta: Sharpness.
    """

    signals: tuple[str, ...] = ("neighbours_best", "neighbours_log_sum", "neighbours_concentration")

    def __init__(self, index: NeighbourIndex, k: int, probes: int, theta: float) -> None:
        self._index = index
        self._k = k
        self._probes = probes
        self._theta = theta
        self._scores = torch.empty(0, k, device=index.device)
        self._words = self._scores.long()

    def search(self, features: Tensor) -> None:
        """Find the neighbours of the next words (n, H), features of the network that the index was built with."""
        matches = self._index.search(features, self._k, self._probes)
        self._words = torch.cat([self._words, matches.words])
        self._scores = torch.cat([self._scores, matches.scores])

    def read(self, features: Tensor, target_ids: Tensor) -> Contribution:
        """As in :class:`Component`."""
        count = len(features)
        words, scores = self._words[:count], self._scores[:count]
        self._words, self._scores = self._words[count:], self._scores[count:]
        weights = torch.softmax(scores * self._theta, dim=1)
        signals = torch.stack(
            [scores[:, 0], (scores * self._theta).logsumexp(dim=1), weights.square().sum(dim=1).log()], dim=1
        )

        def add_to(mixture: Tensor, shares: Tensor) -> None:
            mixture.scatter_add_(1, words, weights * shares.unsqueeze(1))

        target_probs = (weights * (words == target_ids.unsqueeze(1))).sum(dim=1)
        return Contribution(target_probs, torch.ones_like(target_probs), signals, add_to)
