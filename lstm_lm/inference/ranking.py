"""From next-word probabilities to suggestions: pure functions."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.logits import top_k_candidates
from lstm_lm.text.casing import apply_prefix_case, capitalized
from lstm_lm.text.completion import Candidates, WordIndex, has_prefix, is_word, normalized


def allowed_mask(
    candidates: Candidates, index: WordIndex, words_only: bool, allow: Collection[str] | None, deny: Collection[str]
) -> NDArray[np.bool_]:
    """Mask of the candidates that may be suggested (G,).

    Args:
        candidates: Completion candidates from the vocabulary.
        index: The vocabulary's index.
        words_only: Exclude punctuation and symbols.
        allow: Include only these words, ignoring case; ``None`` includes all.
        deny: Exclude these words, ignoring case. Overrides ``allow``.
    """
    keep = candidates.are_words.copy() if words_only else np.ones(len(candidates.surface_forms), dtype=np.bool_)
    # words with the same surface form have the same normalized form, so a list contains all of them or none
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
    """Apply the filters of :func:`allowed_mask` to out-of-vocabulary words.

    Args:
        oov: Their probabilities.
        words_only: As in :func:`allowed_mask`.
        allow: As in :func:`allowed_mask`.
        deny: As in :func:`allowed_mask`.
    """
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
    """Out-of-vocabulary words that begin with ``prefix``, in the typed case.

    Args:
        oov: Their probabilities.
        prefix: The partial word as typed; empty matches every word.
        capital: Whether a sentence starts here.
    """
    completed: dict[str, float] = {}
    for word, prob in oov.items():
        if has_prefix(word, prefix):
            text = apply_prefix_case(prefix, word, oov)
            text = capitalized(text) if capital else text
            completed[text] = completed.get(text, 0.0) + prob
    return completed


def top_suggestions(
    k: int, candidates: Candidates, probs: NDArray[np.float64], oov: Mapping[str, float], keep: NDArray[np.bool_]
) -> list[tuple[str, float]]:
    """The ``k`` most probable suggestions and their probabilities, renormalized over all allowed ones.

    Args:
        k: At least 1; the result is shorter if fewer suggestions are allowed.
        candidates: Completion candidates from the vocabulary.
        probs: Probabilities of the vocabulary's words (V,).
        oov: Out-of-vocabulary suggestions with their probabilities, all allowed.
        keep: Mask of the allowed candidates, from :func:`allowed_mask` (G,).
    """
    surface_forms, summed = candidates.surface_forms, candidates.probs(probs[candidates.ids])
    if oov:
        new = tuple(word for word in oov if word not in candidates.positions)
        surface_forms, keep = surface_forms + new, np.concatenate([keep, np.ones(len(new), dtype=np.bool_)])
        summed = np.concatenate([summed, [oov[word] for word in new]])
        for word in oov.keys() & candidates.positions.keys():
            summed[candidates.positions[word]] += oov[word]
    kept = summed if keep.all() else np.where(keep, summed, 0.0)
    total = kept.sum()
    positions = top_k_candidates(kept, k)
    # words of probability 0 are not suggested: with cache weight 1, only words of the text remain
    positions = positions[kept[positions] > 0.0]
    # the sort is stable, so that a smaller k gives a prefix of a larger k's suggestions
    order = positions[np.argsort(-kept[positions], kind="stable")[:k]]
    return [(surface_forms[position], float(kept[position] / total)) for position in order]
