"""Tokenizers: a line of text as words."""

import re
from functools import cache
from typing import TYPE_CHECKING

from lstm_lm.text.normalize import normalize
from lstm_lm.text.placeholders import EMAIL, PHONE, URL
from lstm_lm.text.vocabulary import UNK

if TYPE_CHECKING:
    from lstm_lm.text.moses import FastMosesTokenizer

# part of the cache key of encoded corpora: raise it when the same text gives other words
VERSION = 3

# WikiText splits numbers too: 1 @,@ 000 and 3 @.@ 5, but not 1,000th
# the lookbehind keeps a long run of digits linear: a match starts only at its first digit
_NUMBER = re.compile(r"(?<!\d)\d+(?:[.,]\d+)+")
_SEPARATOR = re.compile(r"[.,]")
# a rare letter in place of each special word, which Moses then treats as a word: "<unk>'s" gives "<unk> 's"
LETTERS = {UNK: "\ua66e", URL: "\ua668", EMAIL: "\ua66a", PHONE: "\ua66c"}
_SPECIAL = re.compile("|".join(LETTERS))
_LETTER = re.compile(f"[{''.join(LETTERS.values())}]")
_WORDS = {letter: word for word, letter in LETTERS.items()}


class Tokenizer:
    """Splits a line of text into words; tokenizers of the same name are equal.

    ``whitespace`` is for text that is tokenized already. ``moses`` follows WikiText (Merity et al. 2016 §4.2): Moses'
    English rules, with hyphens and numbers split and nothing escaped: ``don 't``, ``role @-@ playing``, ``1 @,@ 000``,
    ``3 @.@ 5``. It normalizes the text first, so that a model learns one spelling of "don’t" and "don't".

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
        return line.split() if self.name == "whitespace" else _moses_words(normalize(line))


def _moses_words(line: str) -> list[str]:
    if _letters_and_digits().fullmatch(line):
        return [line]  # Moses would take 50 µs to return the same
    line, num_special = _SPECIAL.subn(lambda match: LETTERS[match[0]], line)
    # escape=False: a language model reads &, not &amp;
    text: str = _moses().tokenize(line, aggressive_dash_splits=True, escape=False, return_str=True)
    if num_special:
        text = _LETTER.sub(lambda match: _WORDS[match[0]], text)
    words = text.split()
    if not _NUMBER.search(text):
        return words
    return [part for word in words for part in (_number_parts(word) if _NUMBER.fullmatch(word) else (word,))]


def _number_parts(number: str) -> list[str]:
    return _SEPARATOR.sub(r" @\g<0>@ ", number).split()


@cache
def _letters_and_digits() -> re.Pattern[str]:
    from lstm_lm.text.moses import FastMosesTokenizer

    return re.compile(f"[{FastMosesTokenizer.IsAlnum}]+")


@cache
def _moses() -> "FastMosesTokenizer":
    from lstm_lm.text.moses import FastMosesTokenizer

    return FastMosesTokenizer("en")
