"""From the probabilities of all words to the few that are offered: pure functions."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.logits import top_k_candidates
from lstm_lm.text.casing import apply_prefix_case, capitalized
from lstm_lm.text.completion import Candidates, WordIndex, has_prefix, is_word, normalized


def allowed_mask(
    candidates: Candidates, index: WordIndex, words_only: bool, allow: Collection[str] | None, deny: Collection[str]
) -> NDArray[np.bool_]:
    """Which texts of ``candidates`` may be offered (G,).

    Args:
        candidates: Words of the vocabulary as texts.
        index: The vocabulary's index.
        words_only: Leave out punctuation and symbols.
        allow: Leave in nothing but these, whatever their case; ``None`` leaves in all.
        deny: Leave out these, whatever their case, though they be allowed.
    """
    keep = candidates.are_words.copy() if words_only else np.ones(len(candidates.texts), dtype=np.bool_)
    # words that are one text read the same, so a list has all of them or none
    if allow is not None:
        keep &= np.isin(
            np.arange(len(keep)), candidates.groups[np.isin(candidates.ids, index.ids_ignoring_case(allow))]
        )
    if deny:
        keep[candidates.groups[np.isin(candidates.ids, index.ids_ignoring_case(deny))]] = False
    return keep


def filter_oov(
    oov: Mapping[str, float], words_only: bool, allow: Collection[str] | None, deny: Collection[str]
) -> dict[str, float]:
    """The same choice among words outside the vocabulary, given with their probabilities."""
    allowed = None if allow is None else {normalized(word) for word in allow}
    denied = {normalized(word) for word in deny}
    return {
        word: prob
        for word, prob in oov.items()
        if (is_word(word) or not words_only)
        and (allowed is None or normalized(word) in allowed)
        and normalized(word) not in denied
    }


def complete_oov(oov: Mapping[str, float], prefix: str, capital: bool) -> dict[str, float]:
    """Words outside the vocabulary that begin with ``prefix``, as they look after what was typed.

    Args:
        oov: Their probabilities.
        prefix: Beginning of a word as typed; empty fits every word.
        capital: Whether a sentence begins here.
    """
    found: dict[str, float] = {}
    for word, prob in oov.items():
        if has_prefix(word, prefix):
            text = apply_prefix_case(prefix, word, oov)
            text = capitalized(text) if capital else text
            found[text] = found.get(text, 0.0) + prob
    return found


def top_suggestions(
    k: int, candidates: Candidates, probs: NDArray[np.float64], oov: Mapping[str, float], keep: NDArray[np.bool_]
) -> list[tuple[str, float]]:
    """The ``k`` most probable texts and their probabilities among those left in; over all of these they sum to 1.

    Args:
        k: At least 1; there are fewer texts where fewer are left in.
        candidates: Words of the vocabulary as texts.
        probs: Probabilities of the vocabulary's words (V,).
        oov: Further texts with their probabilities, all left in.
        keep: Which texts of ``candidates`` are left in (G,).
    """
    texts, summed = candidates.texts, candidates.probs(probs[candidates.ids])
    if oov:
        new = tuple(text for text in oov if text not in candidates.positions)
        texts, keep = texts + new, np.concatenate([keep, np.ones(len(new), dtype=np.bool_)])
        summed = np.concatenate([summed, [oov[text] for text in new]])
        for text in oov.keys() & candidates.positions.keys():
            summed[candidates.positions[text]] += oov[text]
    left = summed if keep.all() else np.where(keep, summed, 0.0)
    total = left.sum()
    positions = top_k_candidates(left, k)
    # what cannot come is not offered: a cache of weight 1 leaves in the words of the text alone
    positions = positions[left[positions] > 0.0]
    # a stable order among equals, so that fewer suggestions are the first of more
    order = positions[np.argsort(-left[positions], kind="stable")[:k]]
    return [(texts[position], float(left[position] / total)) for position in order]
