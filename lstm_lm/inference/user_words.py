"""A person's own words, which come with each request: names and slang that the vocabulary may not have.

With counts c(w) and their sum n, the probability of a word becomes

    p(w) = (1 - share) p_model(w) + share c(w) / n,    share = MAX_SHARE n / (n + HALF)

so one use of a word makes it about as probable as an uncommon word of the vocabulary, and a long history never takes
more than ``MAX_SHARE`` from the model, which alone knows the context.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lstm_lm.text.normalize import normalize

MAX_USER_WORDS = 5000
MAX_SHARE = 0.2
HALF = 1000.0
"""Sum of the counts at which the user's words have half of ``MAX_SHARE``."""


def user_word_problems(words: Mapping[str, float]) -> list[str]:
    """All errors in a request's words, each as ``user_words: what is wrong``."""
    problems = []
    if len(words) > MAX_USER_WORDS:
        problems.append(f"user_words: at most {MAX_USER_WORDS} (got {len(words)}); send the most frequent ones")
    if any(word.split() != [word] for word in words):
        problems.append("user_words: each must be one word; split names at their spaces")
    if not all(math.isfinite(count) and count > 0 for count in words.values()):
        problems.append("user_words: each count must be above 0 and finite")
    return problems


def add_user_words(
    probs: NDArray[np.float64], oov: Mapping[str, float], words: Mapping[str, float]
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """The mixture of model and user's words.

    Args:
        probs: Probabilities of the vocabulary's words (V,). Not modified.
        oov: Probabilities of other words.
        words: The user's words and their counts, without problems.

    Returns:
        Probabilities of the vocabulary's words from the model (V,), and of ``oov`` and the user's words, some of which
        the vocabulary may have; together they have the same sum as before.
    """
    total = sum(words.values())
    share = MAX_SHARE * total / (total + HALF)
    mixed = {word: (1.0 - share) * prob for word, prob in oov.items()}
    for word, count in words.items():
        text = normalize(word)
        mixed[text] = mixed.get(text, 0.0) + share * count / total
    return (1.0 - share) * probs, mixed
