"""Prefix index: the words of a vocabulary that match a typed beginning."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lstm_lm.text.candidates import Candidates, Entry, group_entries
from lstm_lm.text.casing import apply_typed_case, capitalized
from lstm_lm.text.contractions import ENDINGS, contractions
from lstm_lm.text.detokenize import INFIXES
from lstm_lm.text.edits import AFTER_ALL, MAX_CORRECTIONS, edited_ranges
from lstm_lm.text.normalize import normalize, without_accents
from lstm_lm.text.vocabulary import Vocabulary

_MAX_CACHED_PREFIX = 2  # longer prefixes match few words, and a cached one would keep more of a user's text


class WordIndex:
    """Prefix index of a vocabulary that ignores case, the sign of an apostrophe and how an accent is encoded.

    It has the English contractions whose tokens are in the vocabulary as whole words: "don't" in place of ``don``.

    Args:
        vocabulary: The words to index; its special words are skipped.
        blocked: Normalized words that are never a candidate.
    """

    def __init__(self, vocabulary: Vocabulary, blocked: Collection[str] = ()) -> None:
        joined = contractions(vocabulary)
        left = dict[int, float]()
        for contraction in joined:
            left[contraction.first_id] = left.get(contraction.first_id, 1.0) - contraction.share
        tokens = [
            (normalize(surface_form(word)), i, left.get(i, 1.0))
            for i, word in enumerate(vocabulary.words)
            if i not in vocabulary.special_ids
        ]
        # sorted, so that the words with one prefix are adjacent
        entries = [*tokens, *((each.text, each.first_id, each.share) for each in joined)]
        words = [
            Entry(key, text, i, weight)
            for text, i, weight in entries
            if weight > 0.0 and (key := text.casefold()) not in blocked
        ]
        words.sort()
        self._entries = words
        self._keys = [entry.key for entry in words]
        self._ids = np.array([entry.id for entry in words], dtype=np.intp)
        self._weights = np.array([entry.weight for entry in words])
        self.ending_ids = [vocabulary.id(ending) for ending in sorted(ENDINGS) if ending in vocabulary]
        """Ids of the endings of contractions and genitives."""
        whole = {contraction.text for contraction in joined}
        self._no_apostrophe = sorted(
            entry._replace(key=entry.key.replace("'", "")) for entry in words if entry.text in whole
        )
        self._no_accent = sorted(
            entry._replace(key=plain) for entry in words if (plain := without_accents(entry.key)) != entry.key
        )
        # depend on the vocabulary only, so cached results never change
        self._find_cached = lru_cache(maxsize=512)(self._find)
        self._find_unaccented_cached = lru_cache(maxsize=512)(self._find_unaccented)
        self._all = (self._find("", False), self._find("", True))

    def candidates(self, prefix: str, capital: bool = False) -> Candidates:
        """Every word that starts with ``prefix``, ignoring case; typed capitals are kept.

        A contraction is found with and without its apostrophe.

        Args:
            prefix: Start of a word, as ``normalize`` returns it; the empty prefix matches every word.
            capital: Whether the word starts a sentence.
        """
        if not prefix:
            return self._all[capital]
        return (self._find_cached if len(prefix) <= _MAX_CACHED_PREFIX else self._find)(prefix, capital)

    def has_candidates(self, prefix: str) -> bool:
        """Whether :meth:`candidates` would find any."""
        key = prefix.casefold()
        return (
            not prefix
            or any(has_prefix(entry.text, prefix) for entry in _starting_with(self._entries, key))
            or bool(_starting_with(self._no_apostrophe, key))
        )

    def unaccented(self, prefix: str, capital: bool = False) -> Candidates:
        """The words that start with ``prefix`` only if accents are ignored: "Beyoncé" for "Beyonce".

        Arguments as in :meth:`candidates`; the empty prefix matches none.
        """
        find = self._find_unaccented_cached if len(prefix) <= _MAX_CACHED_PREFIX else self._find_unaccented
        return find(prefix, capital)

    def corrections(self, prefix: str, capital: bool, probs: NDArray[np.float64]) -> Candidates:
        """The most probable words that start with ``prefix`` after one edit: "receive" for "recieve".

        Args:
            prefix: As in :meth:`candidates`.
            capital: Whether the word starts a sentence.
            probs: Probabilities of the vocabulary's words (V,).
        """
        ranges = [np.arange(begin, end) for begin, end in edited_ranges(self._keys, prefix.casefold())]
        if not ranges:
            return group_entries(())
        positions = np.unique(np.concatenate(ranges))
        likely = positions[np.argsort(-probs[self._ids[positions]] * self._weights[positions], kind="stable")]
        likely = likely[:MAX_CORRECTIONS]
        return self._respelled((self._entries[position] for position in likely.tolist()), prefix, capital)

    def _find(self, prefix: str, capital: bool) -> Candidates:
        if not prefix:
            return group_entries((entry, _capital(entry.text, capital)) for entry in self._entries)
        folded, length = prefix.casefold(), len(prefix)
        matches = [
            # as has_prefix, but the prefix is folded once
            (entry, _capital(apply_typed_case(prefix, entry.text), capital))
            for entry in _starting_with(self._entries, folded)
            if entry.text[:length].casefold() == folded
        ]
        contraction = None
        for entry in _starting_with(self._no_apostrophe, folded):
            if not has_prefix(entry.text, prefix):
                matches.append((entry, _capital(apply_typed_case(prefix, entry.text), capital)))
                if entry.key == folded:
                    contraction = entry.text.casefold()
        return group_entries(matches, prefix, contraction)

    def _find_unaccented(self, prefix: str, capital: bool) -> Candidates:
        folded = prefix.casefold()
        plain = without_accents(folded)
        entries = _starting_with(self._no_accent, plain) if plain else []
        if plain != folded:
            entries += _starting_with(self._entries, plain)
        return self._respelled(entries, prefix, capital)

    def _respelled(self, entries: Iterable[Entry], prefix: str, capital: bool) -> Candidates:
        """The candidates of entries that do not begin with ``prefix`` as it is typed."""
        others = (entry for entry in entries if not has_prefix(entry.text, prefix))
        return group_entries((entry, _capital(apply_typed_case(prefix, entry.text), capital)) for entry in others)


def has_prefix(word: str, prefix: str) -> bool:
    """Whether ``word`` starts with ``prefix``, ignoring case."""
    # casefold can change the length: "ß" is "ss", but does not start with "s"
    return word[: len(prefix)].casefold() == prefix.casefold()


def normalized(word: str) -> str:
    """The normalized surface form of ``word`` in small letters: equal for ``The`` and ``the``, ``-`` and ``@-@``."""
    return normalize(surface_form(word)).casefold()


def surface_form(word: str) -> str:
    """A word of the vocabulary as it is written in text: ``@-@`` is "-"."""
    return INFIXES.get(word, word)


def _capital(text: str, capital: bool) -> str:
    return capitalized(text) if capital else text


def _starting_with(entries: Sequence[Entry], key: str) -> list[Entry]:
    begin = bisect_left(entries, (key,))
    return list(entries[begin : bisect_left(entries, (key + AFTER_ALL,), lo=begin)])
