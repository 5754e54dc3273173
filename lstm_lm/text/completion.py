"""Completion candidates: the words of a vocabulary that start with a prefix, in surface form."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lstm_lm.text.casing import apply_prefix_case, capitalized
from lstm_lm.text.detokenize import INFIXES
from lstm_lm.text.vocabulary import Vocabulary

_MAX_CACHED_PREFIX = 2  # longer prefixes match few words, and a cached one would keep more of a user's text


@dataclass(frozen=True, eq=False)
class Candidates:
    """G candidates from N words of a vocabulary, G <= N: words with the same surface form are one candidate.

    The surface form is the text that is suggested: ``@-@`` is "-", and "the" is "The" at the start of a sentence.
    """

    # numpy converts any other index type on each lookup
    ids: NDArray[np.intp]
    """Word ids (N,): first one word per candidate, in the order of ``surface_forms``, then the remaining words."""
    groups: NDArray[np.intp]
    """Candidate of each word, as a position in ``surface_forms`` (N,); the first G are 0, 1, ..., G - 1."""
    surface_forms: tuple[str, ...]
    """The surface form of each candidate; all are distinct."""
    are_words: NDArray[np.bool_]
    """Which candidates are words, not punctuation or symbols (G,)."""

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position of each surface form in ``surface_forms``."""
        return {text: position for position, text in enumerate(self.surface_forms)}

    def probs(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the candidates (G,) from those of the words (N,)."""
        # most candidates have one word: only the remaining words need adding
        size = len(self.surface_forms)
        summed = probs[:size].copy()
        np.add.at(summed, self.groups[size:], probs[size:])
        return summed

    def only_words(self) -> "Candidates":
        """The same candidates without punctuation and symbols."""
        kept = self.are_words[self.groups]
        positions, groups = np.unique(self.groups[kept], return_inverse=True)
        surface_forms = tuple(self.surface_forms[position] for position in positions)
        return Candidates(self.ids[kept], groups.astype(np.intp), surface_forms, self.are_words[positions])


class WordIndex:
    """Prefix index of a vocabulary that ignores case.

    Args:
        vocabulary: The words to index; its special words are skipped.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        # sorted, so that the words with one prefix are adjacent
        entries = sorted(
            (normalized(word), i) for i, word in enumerate(vocabulary.words) if i not in vocabulary.special_ids
        )
        self._normalized = [text for text, _ in entries]
        self._ids = np.array([i for _, i in entries], dtype=np.int32)
        # depends on the vocabulary only, so cached results never change
        self._find_cached = lru_cache(maxsize=512)(self._find)
        self._all = (self._find("", False), self._find("", True))

    def candidates(self, prefix: str, capital: bool = False) -> Candidates:
        """Every word that starts with ``prefix``, ignoring case; typed capitals are kept.

        Args:
            prefix: Start of a word as typed; the empty prefix matches every word.
            capital: Whether the word starts a sentence.
        """
        if not prefix:
            return self._all[capital]
        return (self._find_cached if len(prefix) <= _MAX_CACHED_PREFIX else self._find)(prefix, capital)

    def ids_ignoring_case(self, words: Iterable[str]) -> NDArray[np.int32]:
        """Ids of the words whose surface form equals one of ``words``, ignoring case; ``-`` matches ``@-@`` too."""
        ranges = []
        for word in words:
            text = normalized(word)
            begin = bisect_left(self._normalized, text)
            ranges.append(self._ids[begin : bisect_right(self._normalized, text, lo=begin)])
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int32)

    def _find(self, prefix: str, capital: bool) -> Candidates:
        folded = prefix.casefold()
        begin = bisect_left(self._normalized, folded)
        # the last code point of Unicode is not a character, so it sorts after every word with the prefix
        end = bisect_left(self._normalized, folded + chr(0x10FFFF), lo=begin)
        positions, first_ids, remaining = dict[str, int](), [], []
        for i in self._ids[begin:end].tolist():
            word = surface_form(self._vocabulary.word(i))
            if not has_prefix(word, prefix):
                continue
            text = apply_prefix_case(prefix, word, self._vocabulary)
            text = capitalized(text) if capital else text
            if text in positions:
                remaining.append((i, positions[text]))
            else:
                positions[text] = len(positions)
                first_ids.append(i)
        surface_forms = tuple(positions)
        return Candidates(
            np.array([*first_ids, *(i for i, _ in remaining)], dtype=np.intp),
            np.array([*range(len(surface_forms)), *(position for _, position in remaining)], dtype=np.intp),
            surface_forms,
            np.array([is_word(text) for text in surface_forms], dtype=np.bool_),
        )


def has_prefix(word: str, prefix: str) -> bool:
    """Whether ``word`` starts with ``prefix``, ignoring case."""
    # casefold can change the length: "ß" is "ss", but does not start with "s"
    return word[: len(prefix)].casefold() == prefix.casefold()


def is_word(text: str) -> bool:
    """Whether ``text`` has a letter or digit, so that it is not punctuation or a symbol."""
    return any(map(str.isalnum, text))


def normalized(word: str) -> str:
    """The casefolded surface form of ``word``: equal for ``The`` and ``the``, and for ``-`` and ``@-@``."""
    return surface_form(word).casefold()


def surface_form(word: str) -> str:
    """A word of the vocabulary as it is written in text: ``@-@`` is "-"."""
    return INFIXES.get(word, word)
