"""Filters that a request and the operator put on suggestions."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_lm.text.candidates import Candidates, is_word
from lstm_lm.text.completion import normalized


@dataclass(frozen=True)
class WordFilters:
    """Which suggestions are allowed. A list compares with the text that would be shown, ignoring case."""

    words_only: bool
    """Exclude punctuation and symbols."""
    allow: frozenset[str] | None
    """Include only these words; ``None`` includes all. Each as ``normalized`` returns it, without the lead."""
    deny: frozenset[str]
    """Exclude these words, in the same form. Overrides ``allow``."""
    blocked: frozenset[str]
    """Words, in the same form, that the index of the vocabulary does not have, but a user's own words may."""

    @classmethod
    def after(
        cls,
        lead: str,
        words_only: bool,
        allow: Collection[str] | None,
        deny: Collection[str],
        blocked: frozenset[str],
    ) -> "WordFilters":
        """The filters for suggestions that are shown after ``lead``, the complete words at the start of the prefix.

        Signs at the start of what is shown do not count: after "built-", the word "built-in" of a list means the
        suggestion "in"; after "(", "the" means "the".

        Args:
            lead: As ``normalize`` returns it.
            words_only: As the attribute.
            allow: Words of the request; ``None`` allows all.
            deny: Words of the request.
            blocked: Words of the operator, as ``normalized`` returns them.
        """
        chunk = lead.rpartition(" ")[2].casefold()
        start = chunk[next((i for i, char in enumerate(chunk) if char.isalnum()), len(chunk)) :]

        def rest(words: Iterable[str]) -> frozenset[str]:
            return frozenset(word[len(start) :] for word in words if word.startswith(start))

        denied = rest(map(normalized, deny))
        if start:
            denied |= rest(blocked)
        return cls(words_only, None if allow is None else rest(map(normalized, allow)), denied, blocked)

    def allows(self, word: str) -> bool:
        """Whether ``word``, which may be outside the vocabulary, may be suggested."""
        key = normalized(word)
        return (
            (is_word(word) or not self.words_only)
            and (self.allow is None or key in self.allow)
            and key not in self.deny
            and key not in self.blocked
        )

    def allowed(self, words: Mapping[str, float]) -> dict[str, float]:
        """The probabilities of those of ``words`` that may be suggested."""
        return {word: prob for word, prob in words.items() if self.allows(word)}

    def apply(self, candidates: Candidates, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probabilities of candidates, 0 for those that may not be suggested.

        Args:
            candidates: Candidates from the vocabulary.
            probs: Their probabilities (G,). Not modified.
        """
        kept = probs * candidates.are_words if self.words_only else probs.copy()
        if self.allow is not None:
            allowed = _positions(self.allow, candidates)
            probs, kept = kept, np.zeros_like(kept)
            kept[allowed] = probs[allowed]
        kept[_positions(self.deny, candidates)] = 0.0
        return kept


def _positions(words: Iterable[str], candidates: Candidates) -> list[int]:
    return [position for word in words for position in candidates.positions_ignoring_case.get(word, ())]
