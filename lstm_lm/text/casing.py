"""Sentence starts and capital letters."""

from collections.abc import Container, Iterable, Iterator, Sequence

from lstm_lm.text.vocabulary import EOS

# Moses' tokens that may stand between the end of a sentence and the start of the next
_QUOTES_AND_BRACKETS = frozenset("\"'()[]“”\u2018\u2019«»") | {"''", "``"}


def starts_sentence(words: Sequence[str]) -> bool:
    """Whether the word after ``words`` starts a sentence.

    A sentence starts at the start of a text or line and after ``.``, ``!`` or ``?``; quotes and brackets are skipped.
    The dot of "Mr." is part of a word and does not end a sentence.

    Args:
        words: The text before, as ``tokenize_input`` splits it.
    """
    return next((_ends_sentence(word) for word in reversed(words) if word not in _QUOTES_AND_BRACKETS), True)


def sentence_starts(words: Iterable[str]) -> Iterator[bool]:
    """For each of ``words``, whether it starts a sentence: :func:`starts_sentence` of the words before it."""
    starts = True
    for word in words:
        yield starts
        if word not in _QUOTES_AND_BRACKETS:
            starts = _ends_sentence(word)


def _ends_sentence(word: str) -> bool:
    return word in (EOS, ".") or set(word) <= set("!?")


def capitalized(word: str) -> str:
    """``word`` at the start of a sentence: "the" becomes "The"; "iPhone" and "'s" are unchanged."""
    first, rest = word[:1], word[1:]
    return first.title() + rest if first.islower() and rest == rest.lower() else word


def apply_prefix_case(prefix: str, word: str, known_words: Container[str]) -> str:
    """``word`` as a completion of ``prefix``, in the case that the prefix suggests.

    Typed capitals stay: "Th" gives "The", "TH" gives "THE". Typed small letters stay only if the result is a known
    word: "th" gives "the" although "The" is known too, but "lon" gives "London".

    Args:
        prefix: Start of the word, as typed.
        word: A word that starts with ``prefix``, ignoring case.
        known_words: Words with their known case.
    """
    if sum(map(str.isalpha, prefix)) > 1 and prefix.isupper():
        return word.upper()
    as_typed = prefix + word[len(prefix) :]
    if as_typed in known_words:
        return as_typed
    pairs = zip(prefix, word, strict=False)
    return "".join(typed if typed.isupper() else char for typed, char in pairs) + word[len(prefix) :]
