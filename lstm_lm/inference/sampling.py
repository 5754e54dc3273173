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
        logits: (V,), all of them finite.
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
    greedy = sampling.strategy == "greedy"
    kept = 1 if greedy else sampling.top_k or len(logits)
    # no penalty and no ban makes a word more likely, so that the few words that can be kept are found first, and all
    # the rest looks at them alone
    candidates = largest(logits, kept + len(recent_ids) + len(banned_ids))
    recent, banned = (np.flatnonzero(np.isin(candidates, ids)) for ids in (recent_ids, banned_ids))
    left = penalize_repeats(logits[candidates], recent, sampling.repeat_penalty, logits.mean())
    left = ban(left, banned)
    if greedy:
        return int(candidates[np.argmax(left)])
    left = keep_top_k(left, kept)
    finite = np.flatnonzero(np.isfinite(left))
    weighed = apply_temperature(left[finite], sampling.temperature)
    return int(candidates[finite[draw(keep_top_p(weighed, sampling.top_p), rng)]])


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
