"""From next-word probabilities to suggestions: pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.logits import top_k_candidates
from lstm_lm.inference.word_filters import WordFilters
from lstm_lm.text.candidates import Candidates
from lstm_lm.text.casing import apply_typed_case, capitalized
from lstm_lm.text.completion import has_prefix
from lstm_lm.text.normalize import without_accents

BAR_SIZE = 3
"""As many suggestions as a keyboard shows: corrections fill these places, and a contraction gets one of them."""
TYPED_WORD = ("last", "ranked", "never")
"""Where the suggestion that equals the typed prefix goes: after all others, by its probability, nowhere."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Suggestions of one kind and their probabilities."""

    surface_forms: tuple[str, ...]
    probs: NDArray[np.float64]
    """(G,); 0 for a suggestion that is not allowed."""

    def __len__(self) -> int:
        """Number of allowed suggestions."""
        return int(np.count_nonzero(self.probs))

    def times(self, weight: float) -> "Scores":
        """The same suggestions, each less probable."""
        return Scores(self.surface_forms, weight * self.probs)

    @property
    def total(self) -> float:
        """Sum of the probabilities."""
        return float(self.probs.sum())

    def best(self, k: int) -> list[tuple[str, float]]:
        """The ``k`` most probable suggestions."""
        positions = top_k_candidates(self.probs, k)
        # words of probability 0 are not suggested: with cache weight 1, only words of the text remain
        positions = positions[self.probs[positions] > 0.0]
        # the sort is stable, so that a smaller k gives a prefix of a larger k's suggestions
        order = positions[np.argsort(-self.probs[positions], kind="stable")[:k]]
        return [(self.surface_forms[position], float(self.probs[position])) for position in order]


def score(candidates: Candidates, probs: NDArray[np.float64], oov: Mapping[str, float], filters: WordFilters) -> Scores:
    """The probabilities of candidates and of words outside the vocabulary; ``merge_cases`` of both.

    Args:
        candidates: Candidates from the vocabulary.
        probs: Probabilities of the vocabulary's words (V,).
        oov: Probabilities of other suggestions, all allowed; one with the text of a candidate is added to it.
        filters: Which candidates are allowed.
    """
    surface_forms, size = candidates.surface_forms, len(candidates.surface_forms)
    sums = candidates.sums(probs[candidates.ids])
    if oov:
        new = tuple(word for word in oov if word not in candidates.positions)
        for word in oov.keys() & candidates.positions.keys():
            sums[candidates.positions[word]] += oov[word]
        surface_forms += new
        sums = np.concatenate([sums, [oov[word] for word in new]])
        forms: dict[str, list[int]] = {}
        for position, word in enumerate(new, start=size):
            forms.setdefault(word.casefold(), []).append(position)
        for word, positions in forms.items():
            positions += candidates.positions_ignoring_case.get(word, ())
            candidates.merge_forms(sums, {position: surface_forms[position] for position in positions})
    sums[:size] = filters.apply(candidates, candidates.merge_cases(sums[:size]))
    return Scores(surface_forms, sums)


def complete(oov: Mapping[str, float], prefix: str, capital: bool) -> dict[str, float]:
    """Words outside the vocabulary that begin with ``prefix``, in the typed case.

    Args:
        oov: Their probabilities.
        prefix: The partial word, normalized; empty matches every word.
        capital: Whether a sentence starts here.
    """
    matches = ((apply_typed_case(prefix, word), prob) for word, prob in oov.items() if has_prefix(word, prefix))
    return _summed(matches, capital)


def complete_unaccented(oov: Mapping[str, float], prefix: str, capital: bool) -> dict[str, float]:
    """As :func:`complete`, the words that begin with ``prefix`` only if accents are ignored."""
    plain = without_accents(prefix)
    matches = (
        (apply_typed_case(prefix, word), prob)
        for word, prob in oov.items()
        if prefix and has_prefix(without_accents(word), plain) and not has_prefix(word, prefix)
    )
    return _summed(matches, capital)


def arrange(
    k: int, exact: Scores, others: Iterable[Scores], typed: str, typed_word: str, contraction: int | None
) -> list[tuple[str, float]]:
    """The ``k`` best suggestions in the order in which they are shown, with normalized probabilities.

    Args:
        k: At least 1; the result is shorter if fewer suggestions are allowed.
        exact: Completions of what was typed.
        others: Suggestions that follow all exact ones, best kind first; few.
        typed: The typed prefix.
        typed_word: One of ``TYPED_WORD``.
        contraction: Position in ``exact`` of a completion that is among the first ``BAR_SIZE``, if it is allowed.
    """
    total = exact.total
    best = exact.best(k + 1)
    own = next((entry for entry in best if entry[0] == typed and typed_word != "ranked"), None)
    if own is not None:
        best.remove(own)
    if contraction is not None:
        entry = (exact.surface_forms[contraction], float(exact.probs[contraction]))
        if entry[1] > 0.0 and entry not in best[:BAR_SIZE]:
            best = [other for other in best if other != entry]
            best.insert(BAR_SIZE - 1, entry)
    for scores in others:
        seen = {text.casefold() for text, _ in best}
        new = [entry for entry in scores.best(len(scores.surface_forms)) if entry[0].casefold() not in seen]
        best += new
        total += sum(prob for _, prob in new)
    if own is not None and typed_word == "last":
        best.append(own)
    return [(text, prob / total) for text, prob in best[:k]]


def _summed(completed: Iterable[tuple[str, float]], capital: bool) -> dict[str, float]:
    summed: dict[str, float] = {}
    for word, prob in completed:
        text = capitalized(word) if capital else word
        summed[text] = summed.get(text, 0.0) + prob
    return summed
