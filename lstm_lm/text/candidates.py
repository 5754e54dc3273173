"""Completion candidates: words of a vocabulary as the texts that are suggested."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstm_lm.text.edits import CORRECTION_WEIGHT


@dataclass(frozen=True, eq=False)
class Candidates:
    """G candidates from N entries, G <= N: entries with the same surface form are one candidate.

    The surface form is the text that is suggested: ``@-@`` is "-", and "the" is "The" at the start of a sentence. An
    entry is a word of the vocabulary, or a contraction, which has a share of its first token's probability.

    Candidates that differ only in case are one suggestion: :meth:`merge_cases`.
    """

    # numpy converts any other index type on each lookup
    ids: NDArray[np.intp]
    """Word ids (N,): first one entry per candidate, in the order of ``surface_forms``, then the remaining entries."""
    weights: NDArray[np.float64]
    """Share of each entry in the probability of its word, in (0, 1] (N,)."""
    groups: NDArray[np.intp]
    """Candidate of each entry, as a position in ``surface_forms`` (N,); the first G are 0, 1, ..., G - 1."""
    surface_forms: tuple[str, ...]
    """The surface form of each candidate; all are distinct."""
    are_words: NDArray[np.bool_]
    """Which candidates are words, not punctuation or symbols (G,)."""
    prefix: str = ""
    """What was typed; the candidates may match it in another case or spelling."""
    contraction: str | None = None
    """The contraction, in small letters, that the prefix spells in full without its apostrophe: "don't" for "dont"."""

    @cached_property
    def positions(self) -> dict[str, int]:
        """Position of each surface form in ``surface_forms``."""
        return {text: position for position, text in enumerate(self.surface_forms)}

    @cached_property
    def positions_ignoring_case(self) -> dict[str, list[int]]:
        """Positions of the surface forms that ``normalized`` makes equal."""
        positions: dict[str, list[int]] = {}
        for position, text in enumerate(self.surface_forms):
            positions.setdefault(text.casefold(), []).append(position)
        return positions

    @cached_property
    def _cases(self) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Positions of the W words that have F forms and the weights of the forms, both (F, W), for each F above 1."""
        words: dict[int, list[list[int]]] = {}
        for forms in self.positions_ignoring_case.values():
            if len(forms) > 1:
                words.setdefault(len(forms), []).append(forms)
        tables = []
        for positions in words.values():
            weights = [[self.case_weight(self.surface_forms[i]) for i in forms] for forms in positions]
            # one row per form: sums over rows are fast
            tables.append((np.array(positions, dtype=np.intp).T.copy(), np.array(weights).T.copy()))
        return tables

    def case_weight(self, form: str) -> float:
        """The weight of a form beside others of the same word: lower if it has not the typed case."""
        return 1.0 if form.startswith(self.prefix) else CORRECTION_WEIGHT

    def merge_cases(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the forms of a word that differ only in case, one takes all of their probability.

        It is the most probable one, where the typed case is evidence: "i" becomes "I" and "know" does not become
        "KNOW", but "may" stays if "May" is not much more probable.

        Args:
            probs: Probabilities of the candidates (G,), changed in place.

        Returns:
            ``probs``; 0 for the other forms.
        """
        for positions, weights in self._cases:
            _merge(probs, positions, weights)
        return probs

    def merge_forms(self, probs: NDArray[np.float64], forms: Mapping[int, str]) -> None:
        """:meth:`merge_cases` for one word, whose ``forms`` by position in ``probs`` need not be candidates."""
        weights = [self.case_weight(form) for form in forms.values()]
        _merge(probs, np.array([*forms], dtype=np.intp)[:, None], np.array(weights)[:, None])

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted sums per candidate (G,) of a value per entry (N,)."""
        # most candidates have one entry: only the remaining ones need adding
        size = len(self.surface_forms)
        weighted = values * self.weights
        summed = weighted[:size]
        np.add.at(summed, self.groups[size:], weighted[size:])
        return summed

    def only_words(self, excluded: Collection[str] = ()) -> "Candidates":
        """The same candidates without punctuation and symbols, and without the surface forms ``excluded``."""
        included = np.array([text not in excluded for text in self.surface_forms], dtype=np.bool_)
        kept = (self.are_words & included)[self.groups]
        positions, groups = np.unique(self.groups[kept], return_inverse=True)
        surface_forms = tuple(self.surface_forms[position] for position in positions)
        return Candidates(
            self.ids[kept],
            self.weights[kept],
            groups.astype(np.intp),
            surface_forms,
            self.are_words[positions],
            self.prefix,
            self.contraction,
        )


def _merge(probs: NDArray[np.float64], positions: NDArray[np.intp], weights: NDArray[np.float64]) -> None:
    """The likeliest form of each word takes all of its probability; both arrays are (F, W), as in ``_cases``."""
    forms = probs[positions]
    probs[positions] = 0.0
    probs[positions[(forms * weights).argmax(axis=0), np.arange(positions.shape[1])]] = forms.sum(axis=0)


class Entry(NamedTuple):
    """One way to come to a word: the word itself, or a contraction, which has a share of its first token."""

    key: str
    """What a prefix is compared with."""
    text: str
    id: int
    weight: float


def group_entries(matches: Iterable[tuple[Entry, str]], prefix: str = "", contraction: str | None = None) -> Candidates:
    """Candidates from entries and their surface forms. The other arguments are attributes of :class:`Candidates`."""
    matches = list(matches)
    if not matches:
        return _NONE
    positions = dict[str, int]()
    first: list[Entry] = []
    remaining: list[tuple[Entry, int]] = []
    for entry, text in matches:
        position = positions.setdefault(text, len(first))
        if position == len(first):
            first.append(entry)
        else:
            remaining.append((entry, position))
    ordered = [*first, *(entry for entry, _ in remaining)]
    surface_forms = tuple(positions)
    return Candidates(
        np.array([entry.id for entry in ordered], dtype=np.intp),
        np.array([entry.weight for entry in ordered], dtype=np.float64),
        np.array([*range(len(surface_forms)), *(position for _, position in remaining)], dtype=np.intp),
        surface_forms,
        np.array([is_word(text) for text in surface_forms], dtype=np.bool_),
        prefix,
        contraction,
    )


def is_word(text: str) -> bool:
    """Whether ``text`` has a letter or digit, so that it is not punctuation or a symbol."""
    return any(map(str.isalnum, text))


_NONE = Candidates(np.empty(0, dtype=np.intp), np.empty(0), np.empty(0, dtype=np.intp), (), np.empty(0, dtype=np.bool_))
