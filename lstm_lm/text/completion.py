"""What a keyboard can offer: the words of a vocabulary as text, by how they begin."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from lstm_lm.text.casing import capitalized, carried_case
from lstm_lm.text.typed import SIGNS
from lstm_lm.text.vocabulary import Vocabulary

_REMEMBERED_LENGTH = 2  # longer beginnings fit few words, and are more of what somebody typed


@dataclass(frozen=True, eq=False)
class Offers:
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
    def places(self) -> dict[str, int]:
        """Where each text stands."""
        return {text: place for place, text in enumerate(self.texts)}

    def chances(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the texts (G,) from those of the words (N,)."""
        # most texts are one word, so that only the others need adding up
        size = len(self.texts)
        summed = chances[:size].copy()
        np.add.at(summed, self.groups[size:], chances[size:])
        return summed

    def only_words(self) -> "Offers":
        """Without punctuation and symbols."""
        kept = self.are_words[self.groups]
        places, groups = np.unique(self.groups[kept], return_inverse=True)
        texts = tuple(self.texts[place] for place in places)
        return Offers(self.ids[kept], groups.astype(np.intp), texts, self.are_words[places])


class WordIndex:
    """The words of a vocabulary by how they are written, case aside.

    Args:
        vocabulary: The words; ``<unk>`` and ``<eos>`` are not among those found.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        special = (vocabulary.unk_id, vocabulary.eos_id)
        found = sorted((reading(word), i) for i, word in enumerate(vocabulary.words) if i not in special)
        # what begins alike lies side by side
        self._readings = [folded for folded, _ in found]
        self._ids = np.array([i for _, i in found], dtype=np.int32)
        # tables of the vocabulary alone: a hit gives what a miss would have built
        self._remembered = lru_cache(maxsize=512)(self._find)
        self._all = (self._find("", False), self._find("", True))

    def offers(self, prefix: str, capital: bool = False) -> Offers:
        """Every word that begins with ``prefix`` whatever the case, as it looks after what was typed.

        Args:
            prefix: Beginning of a word as typed; empty fits every word.
            capital: Whether a sentence begins here.
        """
        if not prefix:
            return self._all[capital]
        return (self._remembered if len(prefix) <= _REMEMBERED_LENGTH else self._find)(prefix, capital)

    def ids_like(self, words: Iterable[str]) -> NDArray[np.int32]:
        """Ids of the vocabulary's words that read as one of ``words``, case aside: ``-`` finds ``@-@`` too."""
        ranges = []
        for word in words:
            folded = reading(word)
            begin = bisect_left(self._readings, folded)
            ranges.append(self._ids[begin : bisect_right(self._readings, folded, lo=begin)])
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int32)

    def _find(self, prefix: str, capital: bool) -> Offers:
        folded = prefix.casefold()
        begin = bisect_left(self._readings, folded)
        # no word holds a character beyond the last one of Unicode
        end = bisect_left(self._readings, folded + chr(0x10FFFF), lo=begin)
        places, firsts, others = dict[str, int](), [], []
        for i in self._ids[begin:end].tolist():
            word = written(self._vocabulary.word(i))
            if not begins_with(word, prefix):
                continue
            text = carried_case(prefix, word, self._vocabulary)
            text = capitalized(text) if capital else text
            if text in places:
                others.append((i, places[text]))
            else:
                places[text] = len(places)
                firsts.append(i)
        texts = tuple(places)
        return Offers(
            np.array([*firsts, *(i for i, _ in others)], dtype=np.intp),
            np.array([*range(len(texts)), *(place for _, place in others)], dtype=np.intp),
            texts,
            np.array([is_word(text) for text in texts], dtype=np.bool_),
        )


def begins_with(word: str, prefix: str) -> bool:
    """Whether ``word`` begins with ``prefix``, case aside."""
    # casefold may change the length: "ß" is "ss", but does not begin with "s"
    return word[: len(prefix)].casefold() == prefix.casefold()


def is_word(text: str) -> bool:
    """Whether ``text`` holds a letter or a digit: it is no punctuation and no symbol."""
    return any(map(str.isalnum, text))


def reading(word: str) -> str:
    """What ``word`` reads like, case aside: equal for ``The`` and ``the``, and for ``-`` and ``@-@``."""
    return written(word).casefold()


def written(word: str) -> str:
    """A word of the vocabulary as text: ``@-@`` is "-"."""
    return SIGNS.get(word, word)
