"""How far a perplexity could be off because the split holds these articles and no others: a bootstrap over articles.

Words of one article are alike, all the more for a model that learns from what it reads: articles are drawn with
replacement, not words (the cluster bootstrap; Efron and Tibshirani 1993, "An Introduction to the Bootstrap", §8 and
§13.3). The interval says how the perplexity varies with the articles, not with the seed of the training.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_lm.text.vocabulary import Vocabulary

LEVEL = 0.95
RESAMPLES = 2000
FEWEST_ARTICLES = 10
BLOCK_WORDS = 1000
_DRAWN_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class ConfidenceInterval:
    """A percentile interval of the perplexity.

    Attributes:
        low: Its lower end, a perplexity.
        high: Its upper end.
        level: Share of the resamples that lie inside.
        articles: What is drawn from: articles, or blocks of lines.
        unit: ``article``, or ``block`` where the corpus has no headings.
        resamples: Number of draws.
    """

    low: float
    high: float
    level: float
    articles: int
    unit: str
    resamples: int


def article_starts(ids: NDArray[np.int32], vocabulary: Vocabulary) -> tuple[NDArray[np.int64], str]:
    """Where the articles of a split begin.

    An article begins with a line ``= Title =``, as WikiText's do (``= = Section = =`` is a heading within one). A
    corpus with fewer than ten such lines is cut into contiguous blocks of lines instead, of about a thousand words.

    Args:
        ids: The split's stream (N,), ``<eos>`` after every line.
        vocabulary: The words of ``ids``.

    Returns:
        Places in ``ids``, rising, the first is 0; and what begins there, ``article`` or ``block``.
    """
    ends = np.flatnonzero(ids == vocabulary.eos_id)
    begins = np.concatenate([[0], ends[ends < len(ids) - 1] + 1])
    lengths = np.diff(np.append(begins, len(ids)))
    if "=" in vocabulary:
        padded = np.concatenate([ids, np.full(3, vocabulary.eos_id, dtype=ids.dtype)]) == vocabulary.id("=")
        last = begins + lengths - 1 - (ids[begins + lengths - 1] == vocabulary.eos_id)
        level_one = padded[begins] & ~padded[begins + 1] & padded[last] & ~padded[last - 1] & (last - begins >= 2)
        starts = begins[level_one]
        if len(starts) >= FEWEST_ARTICLES:
            return np.concatenate([[0], starts[1:]]), "article"
    blocks = begins // BLOCK_WORDS
    return begins[np.flatnonzero(np.diff(blocks, prepend=-1))], "block"


def bootstrap(
    nll: NDArray[np.float64], ids: NDArray[np.int32], vocabulary: Vocabulary, seed: int = 0
) -> ConfidenceInterval | None:
    """The 95 % interval of the perplexity by drawing whole articles with replacement.

    Args:
        nll: Negative log likelihood of every token in nats (N,).
        ids: The tokens (N,).
        vocabulary: The words of ``ids``.
        seed: Of the draws; the same interval comes out each time.

    Returns:
        The interval; ``None`` where there is only one article or block to draw from.
    """
    starts, unit = article_starts(ids, vocabulary)
    count = len(starts)
    if count < 2:
        return None
    losses = np.add.reduceat(nll.astype(np.float64), starts)
    tokens = np.diff(np.append(starts, len(ids)))
    rng = np.random.default_rng(seed)
    means = []
    at_once = max(1, _DRAWN_AT_ONCE // count)
    for begin in range(0, RESAMPLES, at_once):
        drawn = rng.integers(count, size=(min(at_once, RESAMPLES - begin), count))
        means.append(losses[drawn].sum(axis=1) / tokens[drawn].sum(axis=1))
    tail = (1.0 - LEVEL) / 2.0
    with np.errstate(over="ignore"):
        low, high = np.exp(np.quantile(np.concatenate(means), [tail, 1.0 - tail]))
    return ConfidenceInterval(float(low), float(high), LEVEL, count, unit, RESAMPLES)
