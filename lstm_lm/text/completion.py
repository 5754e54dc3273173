"""What a keyboard can offer: the words of a vocabulary as text, by how they begin."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lstm_lm.text.casing import apply_prefix_case, capitalized
from lstm_lm.text.input_text import SIGNS
from lstm_lm.text.vocabulary import Vocabulary

_REMEMBERED_LENGTH = 2  # longer beginnings fit few words, and are more of what somebody typed


@dataclass(frozen=True, eq=False)
class Candidates:
    """N words of a vocabulary as G texts, G at most N: words that read the same are one text.

    Attributes:
        ids: The words (N,): one for each text in their order, then the others.
        groups: Of each word its text's place in ``texts`` (N,), so that the first G are 0, 1, and so on.
        texts: What is shown, each once.
        are_words: Which of the texts are words, not punctuation or symbols (G,).
    """

    # numpy looks things up by its own kind of index alone, and would turn any other into it each time
    ids: NDArray[np.intp]
    groups: NDArray[np.intp]
    texts: tuple[str, ...]
    are_words: NDArray[np.bool_]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each text stands."""
        return {text: position for position, text in enumerate(self.texts)}

    def probs(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the texts (G,) from those of the words (N,)."""
        # most texts are one word, so that only the others need adding up
        size = len(self.texts)
        summed = probs[:size].copy()
        np.add.at(summed, self.groups[size:], probs[size:])
        return summed

    def only_words(self) -> "Candidates":
        """Without punctuation and symbols."""
        kept = self.are_words[self.groups]
        positions, groups = np.unique(self.groups[kept], return_inverse=True)
        texts = tuple(self.texts[position] for position in positions)
        return Candidates(self.ids[kept], groups.astype(np.intp), texts, self.are_words[positions])


class WordIndex:
    """The words of a vocabulary by how they are written, case aside.

    Args:
        vocabulary: The words; ``<unk>`` and ``<eos>`` are not among those found.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        special = (vocabulary.unk_id, vocabulary.eos_id)
        found = sorted((normalized(word), i) for i, word in enumerate(vocabulary.words) if i not in special)
        # what begins alike lies side by side
        self._normalized = [folded for folded, _ in found]
        self._ids = np.array([i for _, i in found], dtype=np.int32)
        # tables of the vocabulary alone: a hit gives what a miss would have built
        self._remembered = lru_cache(maxsize=512)(self._find)
        self._all = (self._find("", False), self._find("", True))

    def candidates(self, prefix: str, capital: bool = False) -> Candidates:
        """Every word that begins with ``prefix`` whatever the case, as it looks after what was typed.

        Args:
            prefix: Beginning of a word as typed; empty fits every word.
            capital: Whether a sentence begins here.
        """
        if not prefix:
            return self._all[capital]
        return (self._remembered if len(prefix) <= _REMEMBERED_LENGTH else self._find)(prefix, capital)

    def ids_ignoring_case(self, words: Iterable[str]) -> NDArray[np.int32]:
        """Ids of the vocabulary's words that read as one of ``words``, case aside: ``-`` finds ``@-@`` too."""
        ranges = []
        for word in words:
            folded = normalized(word)
            begin = bisect_left(self._normalized, folded)
            ranges.append(self._ids[begin : bisect_right(self._normalized, folded, lo=begin)])
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int32)

    def _find(self, prefix: str, capital: bool) -> Candidates:
        folded = prefix.casefold()
        begin = bisect_left(self._normalized, folded)
        # no word holds a character beyond the last one of Unicode
        end = bisect_left(self._normalized, folded + chr(0x10FFFF), lo=begin)
        positions, firsts, oov = dict[str, int](), [], []
        for i in self._ids[begin:end].tolist():
            word = surface_form(self._vocabulary.word(i))
            if not has_prefix(word, prefix):
                continue
            text = apply_prefix_case(prefix, word, self._vocabulary)
            text = capitalized(text) if capital else text
            if text in positions:
                oov.append((i, positions[text]))
            else:
                positions[text] = len(positions)
                firsts.append(i)
        texts = tuple(positions)
        return Candidates(
            np.array([*firsts, *(i for i, _ in oov)], dtype=np.intp),
            np.array([*range(len(texts)), *(position for _, position in oov)], dtype=np.intp),
            texts,
            np.array([is_word(text) for text in texts], dtype=np.bool_),
        )


def has_prefix(word: str, prefix: str) -> bool:
    """Whether ``word`` begins with ``prefix``, case aside."""
    # casefold may change the length: "ß" is "ss", but does not begin with "s"
    return word[: len(prefix)].casefold() == prefix.casefold()


def is_word(text: str) -> bool:
    """Whether ``text`` holds a letter or a digit: it is no punctuation and no symbol."""
    return any(map(str.isalnum, text))


def normalized(word: str) -> str:
    """What ``word`` reads like, case aside: equal for ``The`` and ``the``, and for ``-`` and ``@-@``."""
    return surface_form(word).casefold()


def surface_form(word: str) -> str:
    """A word of the vocabulary as text: ``@-@`` is "-"."""
    return SIGNS.get(word, word)
