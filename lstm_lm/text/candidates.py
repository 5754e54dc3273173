"""Completion candidates: words of a vocabulary as the texts that are suggested."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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
    def _cases(self) -> list[NDArray[np.intp]]:
        """Positions of the W words that have F forms (F, W), for each F above 1."""
        words: dict[int, list[list[int]]] = {}
        for forms in self.positions_ignoring_case.values():
            if len(forms) > 1:
                words.setdefault(len(forms), []).append(forms)
        return [np.array(list(zip(*positions, strict=True)), dtype=np.intp) for positions in words.values()]

    def merge_cases(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the forms of a word that differ only in case, the most probable one takes all of their probability.

        Args:
            probs: Probabilities of the candidates (G,), changed in place.

        Returns:
            ``probs``; 0 for the other forms.
        """
        for positions in self._cases:
            forms = probs[positions]
            probs[positions] = 0.0
            probs[positions[forms.argmax(axis=0), np.arange(positions.shape[1])]] = forms.sum(axis=0)
        return probs

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted sums per candidate (G,) of a value per entry (N,)."""
        # most candidates have one entry: only the remaining ones need adding
        size = len(self.surface_forms)
        weighted = values * self.weights
        summed = weighted[:size]
        np.add.at(summed, self.groups[size:], weighted[size:])
        return summed

    def only_words(self) -> "Candidates":
        """The same candidates without punctuation and symbols."""
        kept = self.are_words[self.groups]
        positions, groups = np.unique(self.groups[kept], return_inverse=True)
        surface_forms = tuple(self.surface_forms[position] for position in positions)
        return Candidates(
            self.ids[kept],
            self.weights[kept],
            groups.astype(np.intp),
            surface_forms,
            self.are_words[positions],
            self.contraction,
        )


class Entry(NamedTuple):
    """One way to come to a word: the word itself, or a contraction, which has a share of its first token."""

    key: str
    """What a prefix is compared with."""
    text: str
    id: int
    weight: float


def group_entries(matches: Iterable[tuple[Entry, str]], contraction: str | None = None) -> Candidates:
    """Candidates from entries and their surface forms."""
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
        contraction,
    )


def is_word(text: str) -> bool:
    """Whether ``text`` has a letter or digit, so that it is not punctuation or a symbol."""
    return any(map(str.isalnum, text))


_NONE = Candidates(np.empty(0, dtype=np.intp), np.empty(0), np.empty(0, dtype=np.intp), (), np.empty(0, dtype=np.bool_))
