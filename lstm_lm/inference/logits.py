"""Filters on logits, named for what they return: pure functions of float arrays (V,) or (B, V).

A word that a filter takes out gets ``-inf``. No filter changes its argument unless ``in_place`` says so, which saves a
copy of the whole vocabulary's logits a text.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Logits: TypeAlias = NDArray[np.floating]
Ids: TypeAlias = Sequence[int] | NDArray[np.integer]

_FEW = 256  # words that are sorted without a thought


def softmax(logits: Logits) -> NDArray[np.float64]:
    """The softmax over the last axis, in float64.

    Args:
        logits: (..., V) with at least one finite entry a row.

    Raises:
        ValueError: If a row has no finite entry or holds NaN or ``+inf``, so that there is nothing to choose from.
    """
    peak = logits.max(axis=-1, keepdims=True).astype(np.float64)
    if not np.isfinite(peak).all():
        raise ValueError("no word is left to choose from: every logit is -inf, or one is not a number")
    # in place, as an array of this size costs more to get than to fill
    weights: NDArray[np.float64] = np.subtract(logits, peak, dtype=np.float64)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def ban(logits: Logits, ids: Ids, in_place: bool = False) -> Logits:
    """Take the words ``ids`` out; with ``in_place`` of ``logits`` itself.

    Raises:
        ValueError: If no word is left.
    """
    kept = logits if in_place else logits.copy()
    if len(ids):
        kept[..., np.asarray(ids, dtype=np.int64)] = -np.inf
        if (kept.max(axis=-1) == -np.inf).any():
            raise ValueError("every word is banned; leave at least one")
    return kept


def penalize_repeats(logits: Logits, ids: Sequence[Ids], penalty: float, in_place: bool = False) -> Logits:
    """Make the words ``ids`` less likely (the repetition penalty of CTRL, Keskar et al. 2019 §4.1).

    Keskar et al. divide logits by the penalty. The zero of logits is arbitrary, so here it is the mean logit that the
    scores are taken from: above it they are divided, below it multiplied. Adding a number to all logits then changes
    nothing, and a penalised word never becomes more likely.

    Args:
        logits: (B, V); ``-inf`` entries stay.
        ids: Words to penalise in each row, each once however often it is named.
        penalty: At least 1; 1 changes nothing.
        in_place: Write into ``logits``.
    """
    penalized = logits if in_place else logits.copy()
    if penalty == 1.0:
        return penalized
    zero = logits.mean(axis=-1)
    if not np.isfinite(zero).all():
        zero = np.mean(logits, axis=-1, where=np.isfinite(logits))
    rows = np.repeat(np.arange(len(ids)), [len(row) for row in ids])
    words = np.concatenate([np.asarray(row, dtype=np.int64) for row in ids])
    scores = logits[rows, words] - zero[rows]
    penalized[rows, words] = zero[rows] + np.where(scores > 0.0, scores / penalty, scores * penalty)
    return penalized


def apply_temperature(logits: Logits, temperature: float) -> NDArray[np.float64]:
    """Divide by ``temperature``, in float64, with the largest logit moved to 0 so that nothing can overflow upwards.

    Args:
        logits: (..., V) with at least one finite entry a row.
        temperature: Above 0. Below 1 sharpens, above 1 flattens; a softmax does not see the move.
    """
    peak = logits.max(axis=-1, keepdims=True).astype(np.float64)
    with np.errstate(over="ignore"):
        return np.asarray((logits - peak) / temperature)


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep the ``k`` largest.

    Exactly ``k`` entries stay (all finite ones where there are fewer): among equals the lower id, which is the more
    frequent word, wins.

    Args:
        logits: (V,) or (B, V).
        k: At least 1; the vocabulary size and above keeps all.

    Raises:
        ValueError: If ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1 (got {k})")
    if k >= logits.shape[-1]:
        return logits.copy()
    threshold = -np.partition(-logits, k - 1, axis=-1)[..., k - 1 : k]
    reaching = logits >= threshold
    if np.count_nonzero(reaching) == k * threshold.size:
        return np.where(reaching, logits, -np.inf).astype(logits.dtype, copy=False)
    above = logits > threshold
    equal = logits == threshold
    room = k - above.sum(axis=-1, keepdims=True)
    return np.where(above | (equal & (np.cumsum(equal, axis=-1) <= room)), logits, -np.inf)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the nucleus: the smallest set of most probable words whose probability reaches ``p`` (Holtzman et al. 2020
    §3.1, "The Curious Case of Neural Text Degeneration"). At least one word stays; among equals the lower id goes in
    first.

    Args:
        logits: (V,) or (B, V) with at least one finite entry a row.
        p: Above 0 and at most 1; 1 keeps all.

    Raises:
        ValueError: If ``p`` lies outside (0, 1].
    """
    if not 0.0 < p <= 1.0:
        raise ValueError(f"p must be above 0 and at most 1 (got {p})")
    if p == 1.0:
        return logits.copy()
    if logits.ndim > 1 and logits.shape[-1] > _FEW:
        return np.stack([keep_top_p(row, p) for row in logits])
    probs = softmax(logits)
    likely = _reaching(probs, p) if logits.ndim == 1 else np.arange(logits.shape[-1])
    order = likely[np.argsort(-probs[..., likely], axis=-1, kind="stable")]
    ranked = np.take_along_axis(probs, order, -1)
    keep = np.cumsum(ranked, axis=-1) - ranked < p
    # the first is kept whatever rounding did to its own sum
    keep[..., 0] = True
    kept = np.full_like(logits, -np.inf)
    np.put_along_axis(kept, order, np.where(keep, np.take_along_axis(logits, order, -1), -np.inf), -1)
    return kept


def _reaching(probs: NDArray[np.float64], p: float) -> NDArray[np.intp]:
    """Indices, rising, of the most probable words that reach ``p`` together.

    A nucleus is small, and sorting the whole vocabulary would take most of the time of a word.
    """
    count = _FEW
    while count < len(probs):
        likely = top_k_candidates(probs, count)
        if probs[likely].sum() > p:
            return likely
        count *= 4
    return np.arange(len(probs))


def top_k_candidates(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Indices, rising, of the ``k`` largest, and of a few more: whoever is left out is smaller than each of them.

    Args:
        values: (V,).
        k: At least 1.
    """
    return np.flatnonzero(values >= _reached_by(values, k))


def top_k_candidates_batch(table: Logits, k: int) -> tuple[NDArray[np.intp], Logits]:
    """:func:`top_k_candidates` of every row, side by side.

    Args:
        table: (B, V).
        k: At least 1.

    Returns:
        Indices and values, (B, W) with W the length of the longest row; what fills up the others is ``-inf``.
    """
    # numpy looks through a flat array several times as fast
    rows, found = np.divmod(np.flatnonzero(table >= _reached_by(table, k)), table.shape[-1])
    counts = np.bincount(rows, minlength=len(table))
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    indices = np.zeros((len(table), counts.max()), dtype=np.intp)
    values = np.full(indices.shape, -np.inf, dtype=table.dtype)
    indices[rows, positions] = found
    values[rows, positions] = table[rows, found]
    return indices, values


def _reached_by(values: NDArray[np.floating], k: int) -> NDArray[np.floating]:
    """For each row (..., V) a number that at least ``k`` values reach, and few more, (..., 1).

    It is quicker than a partition of all: ``k`` groups of values reach the k-th largest maximum of a group, and so at
    least ``k`` values do.
    """
    num_groups = max(4 * k, 1024)
    size = values.shape[-1] // num_groups
    if size < 2:
        return np.full((*values.shape[:-1], 1), -np.inf)
    groups = values[..., : size * num_groups].reshape(*values.shape[:-1], size, num_groups)
    return np.partition(groups.max(axis=-2), num_groups - k, axis=-1)[..., num_groups - k, None]
