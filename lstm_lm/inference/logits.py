"""Logits processors: pure functions of float arrays (V,) or (B, V).

A removed word gets ``-inf``. No function modifies its argument unless ``in_place`` is set, which saves a copy of all
logits.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Logits: TypeAlias = NDArray[np.floating]
IdSequence: TypeAlias = Sequence[int] | NDArray[np.integer]

_SMALL = 256  # below this size, sort everything


def softmax(logits: Logits) -> NDArray[np.float64]:
    """The softmax over the last axis, in float64.

    Args:
        logits: (..., V) with at least one finite entry per row.

    Raises:
        ValueError: If a row has no finite entry, or contains NaN or ``+inf``.
    """
    peak = logits.max(axis=-1, keepdims=True).astype(np.float64)
    if not np.isfinite(peak).all():
        raise ValueError("no word is left to choose from: every logit is -inf, or one is NaN or +inf")
    # in place, as allocating an array of this size takes longer than filling it
    weights: NDArray[np.float64] = np.subtract(logits, peak, dtype=np.float64)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def ban(logits: Logits, ids: IdSequence, in_place: bool = False) -> Logits:
    """Remove the words ``ids``.

    Raises:
        ValueError: If no word is left.
    """
    kept = logits if in_place else logits.copy()
    if len(ids):
        kept[..., np.asarray(ids, dtype=np.int64)] = -np.inf
        if (kept.max(axis=-1) == -np.inf).any():
            raise ValueError("every word is banned; allow at least one")
    return kept


def penalize_repeats(logits: Logits, ids: Sequence[IdSequence], penalty: float, in_place: bool = False) -> Logits:
    """Make the words ``ids`` less likely (the repetition penalty of CTRL, Keskar et al. 2019 §4.1).

    Keskar et al. divide logits by the penalty. The zero of logits is arbitrary, so scores here are relative to the mean
    logit: positive scores are divided, negative ones multiplied. A constant added to all logits then changes nothing,
    and a penalized word never becomes more likely.

    Args:
        logits: (B, V); ``-inf`` entries stay.
        ids: Words to penalize in each row; duplicates count once.
        penalty: At least 1; 1 changes nothing.
        in_place: Modify ``logits``.
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
    """Divide by ``temperature``, in float64.

    The largest logit is shifted to 0 first, so that nothing overflows to ``+inf``; the softmax does not depend on it.

    Args:
        logits: (..., V) with at least one finite entry per row.
        temperature: Above 0; below 1 sharpens, above 1 flattens.
    """
    peak = logits.max(axis=-1, keepdims=True).astype(np.float64)
    with np.errstate(over="ignore"):
        return np.asarray((logits - peak) / temperature)


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep the ``k`` largest.

    Exactly ``k`` entries stay, or all finite ones if there are fewer. Ties go to the lower id, the more frequent word.

    Args:
        logits: (V,) or (B, V).
        k: At least 1; V and above keeps all.

    Raises:
        ValueError: If ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1 (got {k})")
    if k >= logits.shape[-1]:
        return logits.copy()
    threshold = -np.partition(-logits, k - 1, axis=-1)[..., k - 1 : k]
    keep = logits >= threshold
    if np.count_nonzero(keep) == k * threshold.size:
        return np.where(keep, logits, -np.inf).astype(logits.dtype, copy=False)
    above = logits > threshold
    tied = logits == threshold
    num_tied = k - above.sum(axis=-1, keepdims=True)
    return np.where(above | (tied & (np.cumsum(tied, axis=-1) <= num_tied)), logits, -np.inf)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the nucleus: the smallest set of most probable words whose probability reaches ``p``.

    Holtzman et al. 2020 §3.1, "The Curious Case of Neural Text Degeneration". At least one word stays. Ties go to the
    lower id.

    Args:
        logits: (V,) or (B, V) with at least one finite entry per row.
        p: Above 0 and at most 1; 1 keeps all.

    Raises:
        ValueError: If ``p`` is outside (0, 1].
    """
    if not 0.0 < p <= 1.0:
        raise ValueError(f"p must be above 0 and at most 1 (got {p})")
    if p == 1.0:
        return logits.copy()
    if logits.ndim > 1 and logits.shape[-1] > _SMALL:
        return np.stack([keep_top_p(row, p) for row in logits])
    probs = softmax(logits)
    candidates = _nucleus_candidates(probs, p) if logits.ndim == 1 else np.arange(logits.shape[-1])
    order = candidates[np.argsort(-probs[..., candidates], axis=-1, kind="stable")]
    ranked = np.take_along_axis(probs, order, -1)
    keep = np.cumsum(ranked, axis=-1) - ranked < p
    # the first always stays, even if rounding would exclude it
    keep[..., 0] = True
    kept = np.full_like(logits, -np.inf)
    np.put_along_axis(kept, order, np.where(keep, np.take_along_axis(logits, order, -1), -np.inf), -1)
    return kept


def _nucleus_candidates(probs: NDArray[np.float64], p: float) -> NDArray[np.intp]:
    """Ascending indices of a set of most probable words that contains the nucleus.

    A nucleus is small, and sorting the full vocabulary would dominate the time per word.
    """
    count = _SMALL
    while count < len(probs):
        candidates = top_k_candidates(probs, count)
        if probs[candidates].sum() > p:
            return candidates
        count *= 4
    return np.arange(len(probs))


def top_k_candidates(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Ascending indices of at least the ``k`` largest values, and of few others.

    Every other value is smaller than each of these.

    Args:
        values: (V,).
        k: At least 1.
    """
    return np.flatnonzero(values >= _top_k_bound(values, k))


def top_k_candidates_batch(logits: Logits, k: int) -> tuple[NDArray[np.intp], Logits]:
    """:func:`top_k_candidates` of every row, padded to one length.

    Args:
        logits: (B, V).
        k: At least 1.

    Returns:
        Indices and values, (B, W) with W the length of the longest row; shorter rows are padded with ``-inf``.
    """
    # flatnonzero is several times as fast as nonzero in two dimensions
    rows, ids = np.divmod(np.flatnonzero(logits >= _top_k_bound(logits, k)), logits.shape[-1])
    counts = np.bincount(rows, minlength=len(logits))
    columns = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    indices = np.zeros((len(logits), counts.max()), dtype=np.intp)
    values = np.full(indices.shape, -np.inf, dtype=logits.dtype)
    indices[rows, columns] = ids
    values[rows, columns] = logits[rows, ids]
    return indices, values


def _top_k_bound(values: NDArray[np.floating], k: int) -> NDArray[np.floating]:
    """A lower bound of the ``k`` largest values of each row (..., V) that few others reach, (..., 1).

    Faster than partitioning all values: the k-th largest maximum of a group is reached by ``k`` groups, and so by at
    least ``k`` values.
    """
    num_groups = max(4 * k, 1024)
    size = values.shape[-1] // num_groups
    if size < 2:
        return np.full((*values.shape[:-1], 1), -np.inf)
    groups = values[..., : size * num_groups].reshape(*values.shape[:-1], size, num_groups)
    return np.partition(groups.max(axis=-2), num_groups - k, axis=-1)[..., num_groups - k, None]
