"""Compare the networks of a bundle with the checkpoint's."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.encoding import encode_split
from lstm_lm.errors import ConfigError, DataError
from lstm_lm.inference.backend import Backend
from lstm_lm.saved_model import SavedModel

# enough tokens for every weight of the network to matter
COLUMNS, STEPS = 8, 32
NUM_TEXTS, _PROMPT_WORDS, _TEXT_WORDS = 100, 8, 20
_BATCH = 32  # streams for the perplexity


@dataclass(frozen=True)
class ParitySample:
    """Tokens to compare networks on."""

    ids: NDArray[np.int64]
    """In text order, (N,)."""
    source: str
    """Origin of the tokens."""

    @property
    def windows(self) -> NDArray[np.int64]:
        """The tokens whose logits are compared, (B, T)."""
        return self.ids[: COLUMNS * STEPS].reshape(COLUMNS, STEPS)


def parity_sample(trained: SavedModel, num_tokens: int) -> ParitySample:
    """Tokens of valid; if the corpus is unavailable, random words by train frequency.

    Args:
        trained: The model.
        num_tokens: Maximum number of tokens; 0 means the whole split.
    """
    try:
        valid = encode_split(trained.metadata.data, "valid", trained.vocabulary)[: num_tokens or None].astype(np.int64)
    except (DataError, ConfigError):
        valid = np.zeros(0, dtype=np.int64)
    if len(valid) >= COLUMNS * STEPS:
        return ParitySample(valid, "the valid split")
    counts = np.maximum(np.asarray(trained.vocabulary.counts, dtype=np.float64), 1.0)
    size = max(COLUMNS * STEPS, min(num_tokens, 2048))
    ids = np.random.default_rng(0).choice(len(counts), size=size, p=counts / counts.sum())
    return ParitySample(ids, "random words by train frequency")


def max_difference(expected: Backend, actual: Backend, ids: NDArray[np.int64]) -> float:
    """Maximum absolute difference of a logit between two networks, fed one token per step as in the service.

    Args:
        expected: The checkpoint's network.
        actual: The bundle's network.
        ids: (B, T).
    """
    state, actual_state = expected.initial_state(len(ids)), actual.initial_state(len(ids))
    difference = 0.0
    for step in range(ids.shape[1]):
        column = np.ascontiguousarray(ids[:, step : step + 1])
        logits, state = expected.step(column, state)
        actual_logits, actual_state = actual.step(column, actual_state)
        # np.maximum propagates NaN, max() does not
        difference = float(np.maximum(difference, np.abs(actual_logits - logits).max()))
    return difference


def greedy_texts(backend: Backend, sample: ParitySample) -> NDArray[np.int64]:
    """Greedy continuations of 100 prompts at evenly spaced positions of the sample, (100, 20)."""
    positions = np.linspace(0, len(sample.ids) - _PROMPT_WORDS, NUM_TEXTS).astype(np.int64)
    prompts = sample.ids[positions[:, None] + np.arange(_PROMPT_WORDS)]
    logits, state = backend.step(prompts, backend.initial_state(NUM_TEXTS))
    words = [logits.argmax(axis=1)]
    for _ in range(_TEXT_WORDS - 1):
        logits, state = backend.step(words[-1][:, None], state)
        words.append(logits.argmax(axis=1))
    return np.stack(words, axis=1)


def num_streams(num_tokens: int) -> int:
    """Number of streams that :func:`perplexity` splits a sample into."""
    return min(_BATCH, num_tokens // STEPS)


def perplexity(backend: Backend, sample: ParitySample) -> float:
    """Perplexity of the sample, split into streams to save steps: for comparison only, not a reported score."""
    batch = num_streams(len(sample.ids))
    columns = sample.ids[: len(sample.ids) // batch * batch].reshape(batch, -1)
    state, nll = backend.initial_state(batch), 0.0
    for step in range(columns.shape[1] - 1):
        logits, state = backend.step(np.ascontiguousarray(columns[:, step : step + 1]), state)
        logits -= logits.max(axis=1, keepdims=True)
        targets = logits[np.arange(batch), columns[:, step + 1]]
        nll += float((np.log(np.exp(logits).sum(axis=1, dtype=np.float64)) - targets).sum())
    loss = nll / (batch * (columns.shape[1] - 1))
    return math.exp(loss) if loss < 700 else math.inf
