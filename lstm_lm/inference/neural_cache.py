"""The neural cache: words of the text at hand count again where its context is like theirs.

Grave, Joulin and Usunier 2017, "Improving Neural Language Models with a Continuous Cache", §3: the hidden state h_i
before each word x_{i+1} of the text is kept, and

    p_cache(w) ~ sum over i of [w = x_{i+1}] exp(theta h_t . h_i),    p(w) = (1 - lambda) p_model(w) + lambda p_cache(w)

with h_t the state before the word that is sought. Here the text is the request's own; words that the model never saw
are kept as they were typed, so they can be offered although the model itself gives them nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.config import CacheConfig
from lstm_lm.text.vocabulary import Vocabulary


def cache_distribution(features: NDArray[np.float32], words: Sequence[str], config: CacheConfig) -> dict[str, float]:
    """The cache's own distribution over the words of a text.

    Args:
        features: Hidden state before every word of the text, and before the one that is sought: (T + 1, H).
        words: The text's T words, at least one.
        config: How they count.

    Returns:
        Probability of each of the words; they sum to 1.
    """
    assert len(features) == len(words) + 1 > 1, f"{len(features)} states for {len(words)} words"
    recent = words[-config.window :] if config.window else words
    states = features[-len(recent) - 1 :].astype(np.float64)
    scores = config.theta * (states[:-1] @ states[-1])
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    found: dict[str, float] = {}
    for word, weight in zip(recent, weights.tolist(), strict=True):
        found[word] = found.get(word, 0.0) + weight
    return found


def interpolate(
    probs: NDArray[np.float64], cached: Mapping[str, float], weight: float, vocabulary: Vocabulary
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """The mixture of model and cache.

    Args:
        probs: The model's probabilities (V,). Not modified.
        cached: The cache's, by word.
        weight: The cache's share, in [0, 1].
        vocabulary: The model's words.

    Returns:
        Probabilities of the vocabulary's words (V,), and of the words outside it; together they sum to 1.
    """
    inside, outside = (1.0 - weight) * probs, dict[str, float]()
    for word, prob in cached.items():
        if word in vocabulary:
            inside[vocabulary.id(word)] += weight * prob
        else:
            outside[word] = weight * prob
    return inside, outside
