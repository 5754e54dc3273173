"""Words that go on from a half-typed one."""

from bisect import bisect_left
from collections.abc import Iterator

from lstm_lm.text.vocabulary import Vocabulary


class WordIndex:
    """The words of a vocabulary by how they begin, case aside.

    Args:
        vocabulary: The words; ``<unk>`` and ``<eos>`` are not among those found.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        special = (vocabulary.unk_id, vocabulary.eos_id)
        self._sorted = sorted(
            (word.casefold(), index) for index, word in enumerate(vocabulary.words) if index not in special
        )

    def completions(self, prefix: str) -> Iterator[tuple[int, str]]:
        """Every word that begins with ``prefix`` whatever the case: its id, and how it looks after what was typed."""
        folded = prefix.casefold()
        for position in range(bisect_left(self._sorted, (folded, -1)), len(self._sorted)):
            candidate, index = self._sorted[position]
            if not candidate.startswith(folded):
                return
            word = self._vocabulary.word(index)
            # casefold may change the length: "ß" is "ss", but does not begin with "s"
            if word[: len(prefix)].casefold() == folded:
                yield index, self._carry_case(prefix, word)

    def _carry_case(self, prefix: str, word: str) -> str:
        """``word`` as it goes on from ``prefix``.

        Capitals that were typed stay: "Th" is "The", "TH" is "THE". Small letters give way to a word's own capitals
        where it is not known without them: "th" is "the" although "The" is a word too, but "lon" is "London".
        """
        if sum(map(str.isalpha, prefix)) > 1 and prefix.isupper():
            return word.upper()
        as_typed = prefix + word[len(prefix) :]
        if as_typed in self._vocabulary:
            return as_typed
        typed = zip(prefix, word, strict=False)
        return "".join(a if a.isupper() else b for a, b in typed) + word[len(prefix) :]
