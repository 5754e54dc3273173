"""Words of a line of text."""

import re
from functools import cache

from sacremoses import MosesTokenizer

from lstm_lm.text.vocabulary import UNK

# part of the key under which encoded corpora are cached: raise it when the same text gives other words
VERSION = 1

# WikiText takes numbers apart as well: 1 @,@ 000 and 3 @.@ 5, but not 1,000th
# begun where a run of digits begins alone: from each of its digits on, a long run would take quadratic time
_NUMBER = re.compile(r"(?<!\d)\d+(?:[.,]\d+)+")
_SEPARATOR = re.compile(r"[.,]")
# a letter of no living language: inside Moses <unk> counts as a word, so that "<unk>'s" gives "<unk> 's"
_UNK_LETTER = "\ua66e"


class Tokenizer:
    """Cuts a line of text into words; a value that equals others of its name.

    ``whitespace`` is for text that comes tokenised. ``moses`` follows WikiText (Merity et al. 2016 §4.2), which is
    Moses' English rules with hyphens and numbers taken apart and nothing escaped: ``don 't``, ``role @-@ playing``,
    ``1 @,@ 000``, ``3 @.@ 5``.

    Args:
        name: ``whitespace`` or ``moses``.

    Raises:
        ValueError: If there is no tokenizer of that name.
    """

    def __init__(self, name: str) -> None:
        if name not in ("whitespace", "moses"):
            raise ValueError(f"unknown tokenizer (got {name!r}); use one of whitespace, moses")
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and other.name == self.name

    def __hash__(self) -> int:
        return hash((Tokenizer, self.name))

    def __repr__(self) -> str:
        return f"Tokenizer({self.name!r})"

    def words(self, line: str) -> list[str]:
        """Words of one line, without ``<eos>``."""
        return line.split() if self.name == "whitespace" else _moses_words(line)


def _moses_words(line: str) -> list[str]:
    if _letters_and_digits().fullmatch(line):
        return [line]  # Moses leaves it unchanged, after 50 µs
    has_unk = UNK in line
    if has_unk:
        line = line.replace(UNK, _UNK_LETTER)
    # escape=False because a language model reads & and not &amp;
    text: str = _moses().tokenize(line, aggressive_dash_splits=True, escape=False, return_str=True)
    if has_unk:
        text = text.replace(_UNK_LETTER, UNK)
    words = text.split()
    if not _NUMBER.search(text):
        return words
    return [part for word in words for part in (_number_parts(word) if _NUMBER.fullmatch(word) else (word,))]


def _number_parts(number: str) -> list[str]:
    return _SEPARATOR.sub(r" @\g<0>@ ", number).split()


@cache
def _letters_and_digits() -> re.Pattern[str]:
    return re.compile(f"[{MosesTokenizer.IsAlnum}]+")


@cache
def _moses() -> "_FastMoses":
    return _FastMoses("en")


class _FastMoses(MosesTokenizer):  # type: ignore[misc]  # sacremoses is untyped
    """The same rules; sacremoses builds a set of every letter of Unicode anew for each full stop it meets."""

    _lower = frozenset(MosesTokenizer.IsLower)
    _alpha = frozenset(MosesTokenizer.IsAlpha)

    def islower(self, text: str) -> bool:
        return self._lower.issuperset(text)

    def isanyalpha(self, text: str) -> bool:
        return not self._alpha.isdisjoint(text)
