"""Where a model is good and where it is not: by word frequency, by position in the line, by confidence, by word."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lstm_lm.errors import EvaluationError
from lstm_lm.evaluation.intervals import mean_interval
from lstm_lm.evaluation.token_scores import TokenScores

CALIBRATION_BINS = 15
MIN_WORD_COUNT = 10
"""A word is listed as hard or easy only if it occurs this often among the scored tokens."""
_RANK_EDGES = (0, 10, 100, 1_000, 5_000, 20_000)
_POSITION_EDGES = (0, 1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Bucket:
    """The tokens of one bucket."""

    label: str
    tokens: int
    perplexity: float
    top1: float
    """Share in [0, 1]."""
    share: float
    """Share of all scored tokens in [0, 1]."""


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy of the most probable word, in bins of equal width (Guo et al. 2017, §2)."""

    confidence: NDArray[np.float64]
    """Mean confidence of each bin that is not empty."""
    accuracy: NDArray[np.float64]
    """Share of its tokens that were the most probable word."""
    tokens: NDArray[np.int64]
    """Number of its tokens."""

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean of ``|accuracy - confidence|``, weighted by tokens (§2, equation 3)."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.tokens))


@dataclass(frozen=True)
class WordLoss:
    """How hard one word is to predict."""

    word: str
    count: int
    loss: float
    """Mean, nats."""


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two models on the same tokens, with a bootstrap interval over articles."""

    ratio: float
    """Perplexity of the first divided by that of the second."""
    low: float
    high: float
    articles: int

    @property
    def is_significant(self) -> bool:
        """Whether the 95 % interval of the ratio excludes 1."""
        return not self.low <= 1.0 <= self.high


def by_frequency(scores: TokenScores, num_words: int) -> list[Bucket]:
    """Buckets by frequency rank in train; ids are sorted by descending frequency.

    Args:
        scores: The scored tokens.
        num_words: Size of the vocabulary.
    """
    edges = [edge for edge in _RANK_EDGES if edge < num_words]
    labels = [f"{low + 1:,}-{high:,}" for low, high in zip(edges, [*edges[1:], num_words], strict=True)]
    return _buckets(scores, np.searchsorted(edges, scores.ids, side="right") - 1, labels)


def by_position(scores: TokenScores) -> list[Bucket]:
    """Buckets by position in the line; the first word of a line is at 0."""
    labels = [f"{low}" if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(_POSITION_EDGES)]
    labels.append(f"{_POSITION_EDGES[-1]}+")
    return _buckets(scores, np.searchsorted(_POSITION_EDGES, scores.line_positions, side="right") - 1, labels)


def _buckets(scores: TokenScores, numbers: NDArray[np.int64], labels: Sequence[str]) -> list[Bucket]:
    counts = np.bincount(numbers, minlength=len(labels))
    nll = np.bincount(numbers, weights=scores.nll.astype(np.float64), minlength=len(labels))
    hits = np.bincount(numbers, weights=scores.rank == 0, minlength=len(labels))
    return [
        Bucket(label, int(n), float(np.exp(loss / n)), float(hit / n), float(n / len(scores.nll)))
        for label, n, loss, hit in zip(labels, counts, nll, hits, strict=True)
        if n
    ]


def calibration(scores: TokenScores) -> Calibration:
    """The calibration of the most probable word."""
    numbers = np.minimum((scores.confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    counts = np.bincount(numbers, minlength=CALIBRATION_BINS)
    confidence = np.bincount(numbers, weights=scores.confidence.astype(np.float64), minlength=CALIBRATION_BINS)
    hits = np.bincount(numbers, weights=scores.rank == 0, minlength=CALIBRATION_BINS)
    used = counts > 0
    return Calibration(confidence[used] / counts[used], hits[used] / counts[used], counts[used])


def hardest_and_easiest(
    scores: TokenScores, words: Sequence[str], number: int = 12
) -> tuple[list[WordLoss], list[WordLoss]]:
    """The words with the highest and the lowest mean loss.

    Args:
        scores: The scored tokens.
        words: The vocabulary.
        number: Words in each list.
    """
    counts = np.bincount(scores.ids, minlength=len(words))
    losses = np.bincount(scores.ids, weights=scores.nll.astype(np.float64), minlength=len(words))
    frequent = np.flatnonzero(counts >= MIN_WORD_COUNT)
    order = frequent[np.argsort(losses[frequent] / counts[frequent], kind="stable")]

    def entries(ids: NDArray[np.int64]) -> list[WordLoss]:
        return [WordLoss(words[i], int(counts[i]), float(losses[i] / counts[i])) for i in ids]

    return entries(order[::-1][:number]), entries(order[:number])


def compare_paired(first: TokenScores, second: TokenScores, seed: int = 0) -> PairedDifference:
    """Compare two models on the same tokens, resampling articles (Efron and Tibshirani 1993, §8).

    Both models are scored on each resample, so that its difficulty cancels out.

    Args:
        first: Scores of one model.
        second: Scores of the other.
        seed: Seed of the resampling.

    Raises:
        EvaluationError: If the tokens are not the same, or are of one article only.
    """
    _, in_first, in_second = np.intersect1d(first.positions, second.positions, return_indices=True)
    if not len(in_first) or not np.array_equal(first.ids[in_first], second.ids[in_second]):
        raise EvaluationError("the runs were scored on different text or with different vocabularies")
    articles, numbers = np.unique(first.articles[in_first], return_inverse=True)
    if len(articles) < 2:
        raise EvaluationError("valid is too short for an interval")
    difference: NDArray[np.float64] = first.nll[in_first].astype(np.float64) - second.nll[in_second]
    low, high = np.exp(
        mean_interval(np.bincount(numbers, weights=difference).astype(np.float64), np.bincount(numbers), seed)
    )
    return PairedDifference(float(np.exp(difference.mean())), float(low), float(high), len(articles))
