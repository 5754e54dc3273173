"""One word out of logits."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.logits import (
    Ids,
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
    banned_ids: Ids,
    recent_ids: Sequence[Ids],
) -> list[int]:
    """The next word of each of B texts: repetition penalty, bans, then the most probable word (``greedy``) or a draw
    after top-k, temperature and top-p (``sample``), in this order. Several texts take little more time than one.

    Args:
        logits: (V,) for each text, all of them finite.
        sampling: What to do; ``temperature``, ``top_k`` and ``top_p`` do not act on ``greedy``.
        rngs: Where each text's draw comes from; ``greedy`` takes nothing from it.
        banned_ids: Words that are never given.
        recent_ids: Words of each text's repetition window.

    Returns:
        The ids of the words; among equally probable ones ``greedy`` takes the lower id.

    Raises:
        ValueError: If every word is banned.
    """
    # a call of numpy costs more than what it does to a hundred numbers, so that all texts share each call
    table = penalize_repeats(np.stack(logits), recent_ids, sampling.repeat_penalty, in_place=True)
    table = ban(table, banned_ids, in_place=True)
    if sampling.strategy == "greedy":
        return [int(index) for index in table.argmax(axis=-1)]
    ids = None
    if sampling.top_k > 0:
        ids, table = top_k_candidates_batch(table, sampling.top_k)
        table = keep_top_k(table, sampling.top_k)
    positions = sample_categorical(keep_top_p(apply_temperature(table, sampling.temperature), sampling.top_p), rngs)
    return [int(position if ids is None else ids[row, position]) for row, position in enumerate(positions)]


def sample_categorical(logits: Logits, rngs: Sequence[np.random.Generator]) -> NDArray[np.intp]:
    """Draw an index for each row by its probability, with one number from the row's ``rng``.

    Args:
        logits: (B, V) with at least one finite entry a row.
        rngs: Where the numbers come from.

    Returns:
        (B,).
    """
    probs = softmax(logits)
    cumulative = np.cumsum(probs, axis=-1)
    reached = np.array([[rng.random()] for rng in rngs]) * cumulative[:, -1:]
    positions = np.count_nonzero(cumulative <= reached, axis=-1)
    # rounding can carry the product up to the last sum; the word there is the last one with any chance
    last = probs.shape[-1] - 1 - np.argmax(probs[:, ::-1] > 0.0, axis=-1)
    return np.asarray(np.minimum(positions, last))


def with_seed(sampling: SamplingConfig) -> SamplingConfig:
    """The same sampling with a seed: its own, or one drawn now, so that a draw can be reported and repeated.

    ``greedy`` draws nothing and stays as it is.
    """
    if sampling.strategy == "greedy" or sampling.seed is not None:
        return sampling
    return replace(sampling, seed=secrets.randbelow(2**31))
