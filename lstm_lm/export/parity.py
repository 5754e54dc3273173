"""How near the networks of a bundle are to that of the checkpoint."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.encoding import encode_split
from lstm_lm.errors import ConfigError, DataError
from lstm_lm.export.checkpoint import TrainedModel
from lstm_lm.inference.backend import Backend

# enough for each weight of the network to have its say
COLUMNS, STEPS = 8, 32
NUM_TEXTS, _PROMPT_WORDS, _TEXT_WORDS = 100, 8, 20
_BATCH = 32  # columns that are scored at one time


@dataclass(frozen=True)
class Sample:
    """Words to compare networks on.

    Attributes:
        ids: In the order of the text, (N,).
        source: Where they came from.
    """

    ids: NDArray[np.int64]
    source: str

    @property
    def windows(self) -> NDArray[np.int64]:
        """The words whose logits are compared, (B, T)."""
        return self.ids[: COLUMNS * STEPS].reshape(COLUMNS, STEPS)


def parity_sample(trained: TrainedModel, num_tokens: int) -> Sample:
    """Words of the valid split, or as many drawn by train frequency where the corpus is not here.

    Args:
        trained: The model.
        num_tokens: Most words to take; 0 takes the whole split.
    """
    try:
        valid = encode_split(trained.data, "valid", trained.vocabulary)[: num_tokens or None].astype(np.int64)
    except (DataError, ConfigError):
        valid = np.zeros(0, dtype=np.int64)
    if len(valid) >= COLUMNS * STEPS:
        return Sample(valid, "the valid split")
    counts = np.maximum(np.asarray(trained.vocabulary.counts, dtype=np.float64), 1.0)
    size = max(COLUMNS * STEPS, min(num_tokens, 2048))
    drawn = np.random.default_rng(0).choice(len(counts), size=size, p=counts / counts.sum())
    return Sample(drawn, "words drawn as often as train has them")


def largest_difference(expected: Backend, given: Backend, ids: NDArray[np.int64]) -> float:
    """Largest difference of a logit when two networks read the same words, one a step as the service does.

    Args:
        expected: One network.
        given: The other.
        ids: (B, T).
    """
    state, given_state = expected.initial_state(len(ids)), given.initial_state(len(ids))
    largest = 0.0
    for step in range(ids.shape[1]):
        column = np.ascontiguousarray(ids[:, step : step + 1])
        logits, state = expected.step(column, state)
        given_logits, given_state = given.step(column, given_state)
        # a NaN must not be lost in a comparison
        largest = float(np.maximum(largest, np.abs(given_logits - logits).max()))
    return largest


def greedy_texts(backend: Backend, sample: Sample) -> NDArray[np.int64]:
    """The most probable words after 100 beginnings that are spread over the sample, (100, 20)."""
    places = np.linspace(0, len(sample.ids) - _PROMPT_WORDS, NUM_TEXTS).astype(np.int64)
    prompts = sample.ids[places[:, None] + np.arange(_PROMPT_WORDS)]
    logits, state = backend.step(prompts, backend.initial_state(NUM_TEXTS))
    chosen = [logits.argmax(axis=1)]
    for _ in range(_TEXT_WORDS - 1):
        logits, state = backend.step(chosen[-1][:, None], state)
        chosen.append(logits.argmax(axis=1))
    return np.stack(chosen, axis=1)


def perplexity(backend: Backend, sample: Sample) -> float:
    """Perplexity of the sample, read as a few columns so that the steps are few: for comparing, not for quoting."""
    batch = min(_BATCH, len(sample.ids) // STEPS)
    columns = sample.ids[: len(sample.ids) // batch * batch].reshape(batch, -1)
    state, nll = backend.initial_state(batch), 0.0
    for step in range(columns.shape[1] - 1):
        logits, state = backend.step(np.ascontiguousarray(columns[:, step : step + 1]), state)
        logits -= logits.max(axis=1, keepdims=True)
        targets = logits[np.arange(batch), columns[:, step + 1]]
        nll += float((np.log(np.exp(logits).sum(axis=1, dtype=np.float64)) - targets).sum())
    loss = nll / (batch * (columns.shape[1] - 1))
    return math.exp(loss) if loss < 700 else math.inf
