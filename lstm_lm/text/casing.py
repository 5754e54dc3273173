"""Capitals as a person writes them."""

from collections.abc import Container, Iterable, Iterator, Sequence

from lstm_lm.text.vocabulary import EOS

# signs that may stand between the end of a sentence and the next one, as Moses cuts them
_AROUND_SENTENCES = frozenset("\"'()[]“”\u2018\u2019«»") | {"''", "``"}


def starts_sentence(words: Sequence[str]) -> bool:
    """Whether the word after ``words`` begins a sentence: at the start of a text or a line, or after ``.``, ``!`` or
    ``?``, quotes and brackets aside. The dot of "Mr." is part of a word and ends nothing.

    Args:
        words: As ``tokenize_input`` cuts them.
    """
    return next((_ends_sentence(word) for word in reversed(words) if word not in _AROUND_SENTENCES), True)


def sentence_starts(words: Iterable[str]) -> Iterator[bool]:
    """For each of ``words`` whether it begins a sentence: :func:`starts_sentence` of the words before it."""
    starts = True
    for word in words:
        yield starts
        if word not in _AROUND_SENTENCES:
            starts = _ends_sentence(word)


def _ends_sentence(word: str) -> bool:
    return word in (EOS, ".") or set(word) <= set("!?")


def capitalized(word: str) -> str:
    """``word`` as it begins a sentence: "the" is "The"; "iPhone" and "'s" stay as they are."""
    first, rest = word[:1], word[1:]
    return first.title() + rest if first.islower() and rest == rest.lower() else word


def apply_prefix_case(prefix: str, word: str, known: Container[str]) -> str:
    """``word`` as it goes on from ``prefix``, with which it begins, case aside.

    Capitals that were typed stay: "Th" is "The", "TH" is "THE". Small letters give way to a word's own capitals where
    it is not known without them: "th" is "the" although "The" is a word too, but "lon" is "London".

    Args:
        prefix: The beginning, as typed.
        word: A word.
        known: The words that there are.
    """
    if sum(map(str.isalpha, prefix)) > 1 and prefix.isupper():
        return word.upper()
    as_typed = prefix + word[len(prefix) :]
    if as_typed in known:
        return as_typed
    typed = zip(prefix, word, strict=False)
    return "".join(a if a.isupper() else b for a, b in typed) + word[len(prefix) :]
