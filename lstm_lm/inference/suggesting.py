"""From the probabilities of all words to the few that are offered: pure functions."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.logits import largest
from lstm_lm.text.casing import capitalized, carried_case
from lstm_lm.text.completion import Offers, WordIndex, begins_with, is_word, reading


def left_in(
    offers: Offers, index: WordIndex, words_only: bool, allow: Collection[str] | None, deny: Collection[str]
) -> NDArray[np.bool_]:
    """Which texts of ``offers`` may be offered (G,).

    Args:
        offers: Words of the vocabulary as texts.
        index: The vocabulary's index.
        words_only: Leave out punctuation and symbols.
        allow: Leave in nothing but these, whatever their case; ``None`` leaves in all.
        deny: Leave out these, whatever their case, though they be allowed.
    """
    keep = offers.are_words.copy() if words_only else np.ones(len(offers.texts), dtype=np.bool_)
    # words that are one text read the same, so a list has all of them or none
    if allow is not None:
        keep &= np.isin(np.arange(len(keep)), offers.groups[np.isin(offers.ids, index.ids_like(allow))])
    if deny:
        keep[offers.groups[np.isin(offers.ids, index.ids_like(deny))]] = False
    return keep


def others_left_in(
    others: Mapping[str, float], words_only: bool, allow: Collection[str] | None, deny: Collection[str]
) -> dict[str, float]:
    """The same choice among words outside the vocabulary, given with their probabilities."""
    allowed = None if allow is None else {reading(word) for word in allow}
    denied = {reading(word) for word in deny}
    return {
        word: chance
        for word, chance in others.items()
        if (is_word(word) or not words_only)
        and (allowed is None or reading(word) in allowed)
        and reading(word) not in denied
    }


def completed(others: Mapping[str, float], prefix: str, capital: bool) -> dict[str, float]:
    """Words outside the vocabulary that begin with ``prefix``, as they look after what was typed.

    Args:
        others: Their probabilities.
        prefix: Beginning of a word as typed; empty fits every word.
        capital: Whether a sentence begins here.
    """
    found: dict[str, float] = {}
    for word, chance in others.items():
        if begins_with(word, prefix):
            text = carried_case(prefix, word, others)
            text = capitalized(text) if capital else text
            found[text] = found.get(text, 0.0) + chance
    return found


def most_probable(
    k: int, offers: Offers, chances: NDArray[np.float64], others: Mapping[str, float], keep: NDArray[np.bool_]
) -> list[tuple[str, float]]:
    """The ``k`` most probable texts and their probabilities among those left in; over all of these they sum to 1.

    Args:
        k: At least 1; there are fewer texts where fewer are left in.
        offers: Words of the vocabulary as texts.
        chances: Probabilities of the vocabulary's words (V,).
        others: Further texts with their probabilities, all left in.
        keep: Which texts of ``offers`` are left in (G,).
    """
    texts, summed = offers.texts, offers.chances(chances[offers.ids])
    if others:
        new = tuple(text for text in others if text not in offers.places)
        texts, keep = texts + new, np.concatenate([keep, np.ones(len(new), dtype=np.bool_)])
        summed = np.concatenate([summed, [others[text] for text in new]])
        for text in others.keys() & offers.places.keys():
            summed[offers.places[text]] += others[text]
    left = summed if keep.all() else np.where(keep, summed, 0.0)
    total = left.sum()
    places = largest(left, k)
    # what cannot come is not offered: a cache of weight 1 leaves in the words of the text alone
    places = places[left[places] > 0.0]
    # a stable order among equals, so that fewer suggestions are the first of more
    order = places[np.argsort(-left[places], kind="stable")[:k]]
    return [(texts[place], float(left[place] / total)) for place in order]
