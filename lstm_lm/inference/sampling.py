"""One word out of logits."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.logits import (
    Logits,
    apply_temperature,
    ban,
    keep_top_k,
    keep_top_p,
    largest,
    penalize_repeats,
    probabilities,
)
from lstm_lm.inference.spec import SamplingSpec


def choose(
    logits: Logits,
    sampling: SamplingSpec,
    rng: np.random.Generator,
    banned_ids: Sequence[int] | NDArray[np.integer] = (),
    recent_ids: Sequence[int] | NDArray[np.integer] = (),
) -> int:
    """The next word: repetition penalty, bans, then the most probable word (``greedy``) or a draw after top-k,
    temperature and top-p (``sample``), in this order.

    Args:
        logits: (V,).
        sampling: What to do; ``temperature``, ``top_k`` and ``top_p`` do not act on ``greedy``.
        rng: Where a draw comes from; ``greedy`` takes nothing from it.
        banned_ids: Words that are never given.
        recent_ids: Words of the repetition window.

    Returns:
        The id of the word; among equally probable ones ``greedy`` takes the lower id.

    Raises:
        ValueError: If every word is banned.
    """
    assert logits.ndim == 1, f"choose() reads the logits of one text, got shape {logits.shape}"
    logits = ban(penalize_repeats(logits, recent_ids, sampling.repeat_penalty), banned_ids)
    if sampling.strategy == "greedy":
        return int(np.argmax(logits))
    # a temperature changes no order, so the few words that top-k keeps are all that the rest has to look at
    if sampling.top_k > 0:
        candidates = largest(logits, sampling.top_k)
        logits = keep_top_k(logits[candidates], sampling.top_k)
    else:
        candidates = np.arange(len(logits))
    left = np.flatnonzero(np.isfinite(logits))
    weighed = apply_temperature(logits[left], sampling.temperature)
    return int(candidates[left[draw(keep_top_p(weighed, sampling.top_p), rng)]])


def draw(logits: Logits, rng: np.random.Generator) -> int:
    """Draw an index by its probability, with one number from ``rng``.

    Args:
        logits: (V,) with at least one finite entry.
        rng: Where the number comes from.
    """
    chances = probabilities(logits)
    cumulative = np.cumsum(chances)
    index = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    # rounding can carry the product up to the last sum; the word there is the last one with any chance
    return min(index, int(np.flatnonzero(chances)[-1]))


def with_seed(sampling: SamplingSpec) -> SamplingSpec:
    """The same sampling with a seed: its own, or one drawn now, so that a draw can be reported and repeated.

    ``greedy`` draws nothing and stays as it is.
    """
    if sampling.strategy == "greedy" or sampling.seed is not None:
        return sampling
    return replace(sampling, seed=secrets.randbelow(2**31))
