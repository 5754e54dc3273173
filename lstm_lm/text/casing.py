"""Sentence starts and capital letters."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from lstm_lm.text.vocabulary import EOS

# Moses' tokens that may stand between the end of a sentence and the start of the next
_EMOJI = frozenset(("So", "Sk"))  # symbols, and the modifiers of skin colors
QUOTES_AND_BRACKETS = frozenset("\"'()[]“”\u2018\u2019«»") | {"''", "``"}


def starts_sentence(words: Sequence[str]) -> bool:
    """Whether the word after ``words`` starts a sentence.

    A sentence starts at the start of a text or line and after ``.``, ``!`` or ``?``; quotes, brackets and emoji are
    skipped.
    The dot of "Mr." is part of a word and does not end a sentence.

    Args:
        words: The text before, as ``tokenize_input`` splits it.
    """
    return next((_ends_sentence(word) for word in reversed(words) if not _is_skipped(word)), True)


def sentence_starts(words: Iterable[str]) -> Iterator[bool]:
    """For each of ``words``, whether it starts a sentence: :func:`starts_sentence` of the words before it."""
    starts = True
    for word in words:
        yield starts
        if not _is_skipped(word):
            starts = _ends_sentence(word)


def _is_skipped(word: str) -> bool:
    if word in QUOTES_AND_BRACKETS:
        return True
    return not word.isascii() and all(unicodedata.category(char) in _EMOJI for char in word)


def _ends_sentence(word: str) -> bool:
    return word in (EOS, ".") or set(word) <= set("!?")


def capitalized(word: str) -> str:
    """``word`` at the start of a sentence: "the" becomes "The"; "iPhone" and "'s" are unchanged."""
    first, rest = word[:1], word[1:]
    return first.title() + rest if first.islower() and rest == rest.lower() else word


def apply_typed_case(typed: str, word: str) -> str:
    """``word`` with the capitals that ``typed`` suggests: a first capital, or capitals throughout.

    "Th" and "the" give "The", "TH" gives "THE"; small letters leave "London" as it is, and stray capitals as in "pYT"
    do not spread.

    Args:
        typed: A word or its start as typed, perhaps misspelled.
        word: The word that it may become.
    """
    if _is_upper(typed):
        return word.upper()
    return typed[:1] + word[1:] if typed[:1].isupper() and typed[:1].casefold() == word[:1].casefold() else word


def _is_upper(typed: str) -> bool:
    return sum(map(str.isalpha, typed)) > 1 and typed.isupper()
