"""The neural cache of a request: words of the text become more likely where the context is similar.

Grave, Joulin and Usunier 2017, "Improving Neural Language Models with a Continuous Cache", §3: the hidden state h_i
before each word x_{i+1} of the text is kept, and

    p_cache(w) ~ sum over i of [w = x_{i+1}] exp(theta h_t . h_i),    p(w) = (1 - lambda) p_model(w) + lambda p_cache(w)

with h_t the state before the predicted word. The cache holds the text of the request only. Out-of-vocabulary words
keep their spelling, so they can be suggested although the model gives them no probability.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.config import CacheConfig
from lstm_lm.text.vocabulary import Vocabulary


def cache_distribution(features: NDArray[np.float32], words: Sequence[str], config: CacheConfig) -> dict[str, float]:
    """The distribution p_cache over the words of a text.

    Args:
        features: Hidden state before every word of the text and before the predicted word, (T + 1, H).
        words: The T words of the text, at least one.
        config: Sharpness and window.

    Returns:
        Probability of each word; they sum to 1.
    """
    assert len(features) == len(words) + 1 > 1, f"{len(features)} states for {len(words)} words"
    recent = words[-config.window :] if config.window else words
    states = features[-len(recent) - 1 :].astype(np.float64)
    scores = config.theta * (states[:-1] @ states[-1])
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    probs: dict[str, float] = {}
    for word, weight in zip(recent, weights.tolist(), strict=True):
        probs[word] = probs.get(word, 0.0) + weight
    return probs


def interpolate(
    probs: NDArray[np.float64], cache_probs: Mapping[str, float], weight: float, vocabulary: Vocabulary
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """The mixture of model and cache.

    Args:
        probs: The model's probabilities (V,). Not modified.
        cache_probs: The cache's probabilities, by word.
        weight: Share of the cache, in [0, 1].
        vocabulary: The model's vocabulary.

    Returns:
        Probabilities of the vocabulary's words (V,) and of out-of-vocabulary words; together they sum to 1.
    """
    mixture, oov = (1.0 - weight) * probs, dict[str, float]()
    for word, prob in cache_probs.items():
        if word in vocabulary:
            mixture[vocabulary.id(word)] += weight * prob
        else:
            oov[word] = weight * prob
    return mixture, oov
