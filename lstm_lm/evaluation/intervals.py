"""Confidence interval of a perplexity: a bootstrap over the articles of the split.

Losses within an article are correlated, even more so for a model that adapts to the text. Therefore whole articles are
resampled, not words (the cluster bootstrap; Efron and Tibshirani 1993, "An Introduction to the Bootstrap", §8 and
§13.3). The interval covers the choice of articles, not the seed of the training.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.encoding import Ids
from lstm_lm.text.vocabulary import Vocabulary

LEVEL = 0.95
RESAMPLES = 2000
MIN_ARTICLES = 10
BLOCK_WORDS = 1000
_MAX_BATCH = 1 << 20  # articles drawn in one batch of resamples


@dataclass(frozen=True)
class ConfidenceInterval:
    """A percentile interval of the perplexity."""

    low: float
    """Lower end, a perplexity."""
    high: float
    """Upper end, a perplexity."""
    level: float
    """Share of the resamples inside the interval."""
    articles: int
    """Number of articles, or of blocks of lines."""
    unit: str
    """``article``, or ``block`` for a corpus without headings."""
    resamples: int
    """Number of bootstrap resamples."""


def article_starts(ids: Ids, vocabulary: Vocabulary) -> tuple[NDArray[np.int64], str]:
    """Find the articles of a split.

    An article starts with a line ``= Title =``, as in WikiText (``= = Section = =`` is a heading within an article). A
    corpus with fewer than ten such lines is cut into contiguous blocks of lines of about a thousand words instead.

    Args:
        ids: The split (N,), with ``<eos>`` after every line.
        vocabulary: The vocabulary of ``ids``.

    Returns:
        Ascending start indices, the first one 0; and what they start, ``article`` or ``block``.
    """
    line_ends = np.flatnonzero(ids == vocabulary.eos_id)
    line_starts = np.concatenate([[0], line_ends[line_ends < len(ids) - 1] + 1])
    lengths = np.diff(np.append(line_starts, len(ids)))
    if "=" in vocabulary:
        equals = np.concatenate([ids, np.full(3, vocabulary.eos_id, dtype=ids.dtype)]) == vocabulary.id("=")
        first, last = line_starts, line_starts + lengths - 1
        last -= ids[last] == vocabulary.eos_id
        is_title = equals[first] & ~equals[first + 1] & equals[last] & ~equals[last - 1] & (last - first >= 2)
        starts = line_starts[is_title]
        if len(starts) >= MIN_ARTICLES:
            return np.concatenate([[0], starts[1:]]), "article"
    blocks = line_starts // BLOCK_WORDS
    return line_starts[np.flatnonzero(np.diff(blocks, prepend=-1))], "block"


def bootstrap(nll: NDArray[np.float64], ids: Ids, vocabulary: Vocabulary, seed: int = 0) -> ConfidenceInterval | None:
    """The 95 % interval of the perplexity, from resampling whole articles with replacement.

    Args:
        nll: Negative log likelihood of every token in nats (N,).
        ids: The tokens (N,).
        vocabulary: The vocabulary of ``ids``.
        seed: Seed of the resampling.

    Returns:
        The interval; ``None`` if the split has only one article or block.
    """
    starts, unit = article_starts(ids, vocabulary)
    count = len(starts)
    if count < 2:
        return None
    losses = np.add.reduceat(nll.astype(np.float64), starts)
    low, high = mean_interval(losses, np.diff(np.append(starts, len(ids))), seed)
    with np.errstate(over="ignore"):
        return ConfidenceInterval(float(np.exp(low)), float(np.exp(high)), LEVEL, count, unit, RESAMPLES)


def mean_interval(sums: NDArray[np.float64], tokens: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """The 95 % interval of a mean per token, from resampling articles with replacement.

    Args:
        sums: Sum over the tokens of each article (A,).
        tokens: Number of its tokens (A,).
        seed: Seed of the resampling.
    """
    count = len(sums)
    rng = np.random.default_rng(seed)
    means = []
    batch_size = max(1, _MAX_BATCH // count)
    for begin in range(0, RESAMPLES, batch_size):
        drawn = rng.integers(count, size=(min(batch_size, RESAMPLES - begin), count))
        means.append(sums[drawn].sum(axis=1) / tokens[drawn].sum(axis=1))
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail])
    return float(low), float(high)
