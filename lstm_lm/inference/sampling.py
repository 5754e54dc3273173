"""Sampling: from logits to the next token."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.logits import (
    IdSequence,
    Logits,
    apply_temperature,
    ban,
    keep_top_k,
    keep_top_p,
    penalize_repeats,
    softmax,
    top_k_candidates_batch,
)


def sample_batch(
    logits: Sequence[Logits],
    sampling: SamplingConfig,
    rngs: Sequence[np.random.Generator],
    banned_ids: IdSequence,
    recent_ids: Sequence[IdSequence],
) -> list[int]:
    """The next token of each of B sequences.

    Applies the repetition penalty and the bans, then takes the most probable token (``greedy``), or applies top-k,
    temperature and top-p and draws one (``sample``).

    Args:
        logits: One array (V,) per sequence, all finite.
        sampling: The options; ``greedy`` ignores ``temperature``, ``top_k`` and ``top_p``.
        rngs: One generator per sequence; ``greedy`` does not use it.
        banned_ids: Tokens that are never chosen.
        recent_ids: Tokens in each sequence's repetition window.

    Returns:
        One token id per sequence; ``greedy`` breaks ties in favor of the lower id.

    Raises:
        ValueError: If every token is banned.
    """
    # all sequences share each numpy call, as the overhead of a call exceeds the work on a few hundred numbers
    batch = penalize_repeats(np.stack(logits), recent_ids, sampling.repeat_penalty, in_place=True)
    batch = ban(batch, banned_ids, in_place=True)
    if sampling.strategy == "greedy":
        return [int(index) for index in batch.argmax(axis=-1)]
    ids = None
    if sampling.top_k > 0:
        ids, batch = top_k_candidates_batch(batch, sampling.top_k)
        batch = keep_top_k(batch, sampling.top_k)
    columns = sample_categorical(keep_top_p(apply_temperature(batch, sampling.temperature), sampling.top_p), rngs)
    return [int(column if ids is None else ids[row, column]) for row, column in enumerate(columns)]


def sample_categorical(logits: Logits, rngs: Sequence[np.random.Generator]) -> NDArray[np.intp]:
    """Draw an index per row from its softmax, with one random number per row.

    Args:
        logits: (B, V) with at least one finite entry per row.
        rngs: One generator per row.

    Returns:
        (B,).
    """
    probs = softmax(logits)
    cumulative = np.cumsum(probs, axis=-1)
    thresholds = np.array([[rng.random()] for rng in rngs]) * cumulative[:, -1:]
    columns = np.count_nonzero(cumulative <= thresholds, axis=-1)
    # rounding can raise a threshold to the last sum; then take the last index with a probability above 0
    last = probs.shape[-1] - 1 - np.argmax(probs[:, ::-1] > 0.0, axis=-1)
    return np.asarray(np.minimum(columns, last))


def with_seed(sampling: SamplingConfig) -> SamplingConfig:
    """Add a random seed if ``sampling`` has none, so that the result can be reproduced.

    ``greedy`` needs no seed and is returned unchanged.
    """
    if sampling.strategy == "greedy" or sampling.seed is not None:
        return sampling
    return replace(sampling, seed=secrets.randbelow(2**31))
