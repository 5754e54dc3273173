"""An n-gram language model with interpolated modified Kneser-Ney smoothing.

Chen and Goodman 1999, "An Empirical Study of Smoothing Techniques for Language Modeling", §3. For a context h and h'
without its first word:

    p(w | h) = max(c(h w) - D(c(h w)), 0) / c(h) + backoff(h) p(w | h')

The highest order uses counts; every lower order uses the number of distinct words before the n-gram. The discounts D1,
D2 and D3+ of each order follow from its counts of counts, and the lowest order is interpolated with the uniform
distribution, so every word has a probability above 0. The text is one stream, as in every score: ``<eos>`` and
``<unk>`` are words like any other, contexts cross lines, and the words before the first are ``<eos>``.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.data.encoding import Ids

DISCOUNT_FALLBACK = (0.5, 1.0, 1.5)
"""Discounts for counts of counts that give none, as in a very small corpus; those of KenLM."""


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order n > 1, sorted; those with the same context are contiguous."""

    keys: NDArray[np.int64]
    """Index of the context among the n-grams of order n - 1, times V, plus the last word."""
    words: NDArray[np.int32]
    """The last word."""
    probs: NDArray[np.float32]
    """Discounted probability of the last word in its context."""
    backoffs: NDArray[np.float32]
    """Weight of the lower order, by index of the context; 1 if no word was seen after it."""
    totals: NDArray[np.float32]
    """Sum of the counts, by index of the context."""


class KneserNeyNgram:
    """A smoothed n-gram model of a text.

    Example: the three most probable words after a text::

        ngram = KneserNeyNgram(train_ids, len(vocabulary), vocabulary.eos_id, order=4)
        context = ngram.contexts(vocabulary.encode(words))[-1:]
        best = ngram.distributions(context)[0].argsort()[::-1][:3]
        ngram.probs(context, best[:1])  # the probability of the first

    Memory: about 30 bytes per distinct n-gram of each order; more while it is counted.

    Args:
        ids: The text (N,), N > 0; each id in [0, V).
        vocab_size: Number of words V.
        eos_id: Id of ``<eos>``, which stands for the words before the text.
        order: Longest n-gram, at least 1.
    """

    def __init__(self, ids: Ids, vocab_size: int, eos_id: int, order: int = 5) -> None:
        self.vocab_size = vocab_size
        self.order = order
        self._eos_id = eos_id
        # gram[p]: index of the n-gram that ends at position p, for the current order n
        gram = self._padded(ids)
        gram_of_order, keys_of_order = [gram], []
        for _ in range(order - 1):
            keys = gram[:-1] * vocab_size + gram_of_order[0][-len(gram) + 1 :]
            unique_keys, gram = np.unique(keys, return_inverse=True)
            gram_of_order.append(gram)
            keys_of_order.append(unique_keys)
        sizes = [vocab_size, *map(len, keys_of_order)]
        # the padding is context only: it is not counted
        counts = np.bincount(gram_of_order[-1][-len(ids) :], minlength=sizes[-1])
        orders = []
        for n in range(order, 1, -1):
            keys = keys_of_order[n - 2]
            orders.append(_smoothed_order(keys, counts, vocab_size, sizes[n - 2]))
            # any position of an n-gram gives the (n-1)-gram that it ends with
            last = np.zeros(sizes[n - 1], dtype=np.int64)
            last[gram_of_order[n - 1][-len(ids) :]] = gram_of_order[n - 2][-len(ids) :]
            counts = np.bincount(last[counts > 0], minlength=sizes[n - 2])
        self._orders = orders[::-1]
        discounted, backoff = _discount(counts, np.zeros(vocab_size, dtype=np.int64), 1)
        self._unigram = discounted / counts.sum() + backoff[0] / counts.sum() / vocab_size
        self._copies: dict[torch.device, tuple[Tensor, list[tuple[Tensor, Tensor]]]] = {}

    @property
    def num_ngrams(self) -> int:
        """Number of stored n-grams of all orders."""
        return self.vocab_size + sum(len(order.keys) for order in self._orders)

    def contexts(self, ids: Ids | Sequence[int]) -> NDArray[np.int64]:
        """Find the context before every word of a text, and the one after its last word.

        Row i depends on the words before i only.

        Args:
            ids: The text (N,).

        Returns:
            (N + 1, order - 1): in column j the index of the last j + 1 words, or -1 if train does not contain them.
        """
        padded = gram = self._padded(np.asarray(ids, dtype=np.int32))
        result = np.empty((len(ids) + 1, self.order - 1), dtype=np.int64)
        for j in range(self.order - 1):
            if j > 0:
                keys = np.where(gram[:-1] >= 0, gram[:-1] * self.vocab_size + padded[-len(gram) + 1 :], -1)
                gram = _find(self._orders[j - 1].keys, keys)
            result[:, j] = gram[-len(result) :]
        return result

    def probs(self, contexts: NDArray[np.int64], words: NDArray[np.integer]) -> NDArray[np.float64]:
        """The probability of one word in each context.

        Args:
            contexts: Rows of :meth:`contexts` (n, order - 1).
            words: The words (n,).
        """
        words = words.astype(np.int64)
        probs: NDArray[np.float64] = self._unigram[words]
        for order, context in zip(self._orders, contexts.T, strict=True):
            index = _find(order.keys, np.where(context >= 0, context * self.vocab_size + words, -1))
            probs = np.where(index >= 0, order.probs[index], 0.0) + _at(order.backoffs, context, 1.0) * probs
        return probs

    def distributions(self, contexts: NDArray[np.int64]) -> NDArray[np.float32]:
        """The probabilities of all words in each context.

        Args:
            contexts: Rows of :meth:`contexts` (n, order - 1).

        Returns:
            (n, V); each row adds up to 1.
        """
        result = torch.zeros(len(contexts), self.vocab_size)
        self.add_to(result, contexts, torch.ones(len(contexts)))
        return result.numpy()

    def add_to(self, total: Tensor, contexts: NDArray[np.int64], shares: Tensor) -> None:
        """Add the probabilities of all words in each context, times a share, to a tensor in place.

        Args:
            total: (n, V), contiguous, on any device.
            contexts: Rows of :meth:`contexts` (n, order - 1).
            shares: (n,), on the same device.
        """
        device = total.device
        # weights[j]: of the orders up to j + 1
        weights = np.ones((self.order, len(contexts)))
        for j in range(self.order - 2, -1, -1):
            weights[j] = weights[j + 1] * _at(self._orders[j].backoffs, contexts[:, j], 1.0)
        unigram_shares, *shares_of = torch.from_numpy(weights.astype(np.float32)).to(device) * shares
        unigram, copies = self._on(device)
        total.addr_(unigram_shares, unigram)
        flat = total.view(-1)
        for order, context, order_shares, (words, probs) in zip(
            self._orders, contexts.T, shares_of, copies, strict=True
        ):
            rows = np.flatnonzero(context >= 0)
            begin, end = np.searchsorted(order.keys, np.stack([context[rows], context[rows] + 1]) * self.vocab_size)
            sizes = end - begin
            count = int(sizes.sum())
            columns = np.stack([sizes, begin - np.cumsum(sizes) + sizes, rows, rows * self.vocab_size])
            repeats, first, row, row_begin = torch.from_numpy(columns).to(device)
            repeated = functools.partial(torch.repeat_interleave, repeats=repeats, output_size=count)
            # the ranges [begin, end), one after the other
            grams = repeated(first).add_(torch.arange(count, device=device))
            flat.index_add_(0, repeated(row_begin).add_(words[grams]), probs[grams].mul_(repeated(order_shares[row])))

    def _on(self, device: torch.device) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The unigram probabilities (V,), and the words and probabilities of each higher order, on a device."""
        if device not in self._copies:
            unigram = torch.from_numpy(self._unigram.astype(np.float32)).to(device)
            pairs = [(torch.from_numpy(order.words), torch.from_numpy(order.probs)) for order in self._orders]
            self._copies[device] = unigram, [(words.to(device), probs.to(device)) for words, probs in pairs]
        return self._copies[device]

    def context_counts(self, contexts: NDArray[np.int64]) -> NDArray[np.float32]:
        """How often a word followed each context in train: counts of the smoothing, 0 for an unknown context.

        Args:
            contexts: Rows of :meth:`contexts` (n, order - 1).

        Returns:
            (n, order - 1).
        """
        result = np.empty(contexts.shape, dtype=np.float32)
        for j, order in enumerate(self._orders):
            result[:, j] = _at(order.totals, contexts[:, j], 0.0)
        return result

    def _padded(self, ids: Ids) -> NDArray[np.int64]:
        """The text after order - 1 times ``<eos>``."""
        return np.concatenate([np.full(self.order - 1, self._eos_id, dtype=np.int64), ids])


def _smoothed_order(keys: NDArray[np.int64], counts: NDArray[np.int64], vocab_size: int, num_contexts: int) -> _Order:
    """Smooth the n-grams ``keys`` with these counts; 0 for one that only occurs in the padding."""
    contexts, words = np.divmod(keys, vocab_size)
    totals = np.bincount(contexts, weights=counts, minlength=num_contexts)
    discounted, backoffs = _discount(counts, contexts, num_contexts)
    seen = np.maximum(totals, 1.0)
    backoffs = np.where(totals > 0, backoffs / seen, 1.0)
    probs = discounted / seen[contexts]
    return _Order(
        keys, words.astype(np.int32), probs.astype(np.float32), backoffs.astype(np.float32), totals.astype(np.float32)
    )


def _discount(
    counts: NDArray[np.int64], contexts: NDArray[np.int64], num_contexts: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The discounted counts, and the sum of the discounts by context."""
    discounts = np.array([0.0, *discounts_of(np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist())])
    amounts = discounts[np.minimum(counts, 3)]
    by_context = np.bincount(contexts, weights=amounts, minlength=num_contexts).astype(np.float64)
    return counts - amounts, by_context


def discounts_of(counts_of_counts: Sequence[int]) -> tuple[float, float, float]:
    """The discounts D1, D2 and D3+ of an order.

    Args:
        counts_of_counts: Numbers of n-grams that occur 1, 2, 3 and 4 times.
    """
    n1, n2, n3, n4 = counts_of_counts
    if min(n1, n2, n3) == 0:
        return DISCOUNT_FALLBACK
    y = n1 / (n1 + 2 * n2)
    first, second, third = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    if 0 < first <= 1 and 0 < second <= 2 and 0 < third <= 3:
        return first, second, third
    return DISCOUNT_FALLBACK


def _find(sorted_keys: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index of each key, or -1."""
    index = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[index] == keys, index, -1)


def _at(values: NDArray[np.float32], index: NDArray[np.int64], missing: float) -> NDArray[np.float64]:
    """``values[index]``, or ``missing`` where the index is -1."""
    return np.where(index >= 0, values[index].astype(np.float64), missing)
