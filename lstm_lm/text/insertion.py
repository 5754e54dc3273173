"""How a suggestion joins the text before it: which characters it replaces, and whether a space stands between them."""

from typing import NamedTuple

CLOSING = frozenset(",.;:!?)]}%…”»")  # no space before
OPENING = frozenset("([{“„«‘¿¡/@#$£€")  # no space after
DASHES = frozenset("-–—")  # no space after, if there is none before


class Insertion(NamedTuple):
    """The change of a text that accepts a suggestion."""

    text: str
    """What takes the place of the last ``replaces`` characters."""
    replaces: int
    """Number of Unicode code points."""
    space_before: bool
    """Whether a space then stands before the word."""


def insertion(text: str, typed: str, word: str) -> Insertion:
    """How to put ``word`` after ``text``, in place of ``typed``.

    Args:
        text: The text before the word, as typed.
        typed: The typed beginning of the word, which follows ``text``; may be empty.
        word: The suggestion, with the typed beginning.
    """
    spaced = text[-1:] == " "
    if typed:
        # the spaces before a typed beginning are the user's
        needs_space = _needs_space(text, word)
        return Insertion(f" {word}" if needs_space else word, len(typed), needs_space or spaced)
    before = text.rstrip(" ")
    if spaced and before[-1:].strip() and _attaches(before, word):
        return Insertion(word, len(text) - len(before), False)
    needs_space = _needs_space(text, word)
    return Insertion(f" {word}" if needs_space else word, 0, needs_space or spaced)


def _needs_space(text: str, word: str) -> bool:
    last = text[-1:]
    if not last.strip() or last in OPENING or _attaches(text, word):
        return False
    if last in DASHES:
        return not text[-2:-1].strip()
    if last == '"':
        return not _is_quoting(text)
    return last not in "'’" or bool(text[-2:-1].strip())


def _attaches(text: str, word: str) -> bool:
    """Whether ``word`` follows ``text`` without a space."""
    first = word[:1]
    if first in CLOSING or word == "-":
        return True
    if first == '"':
        return _is_quoting(text)
    return first in "'’" and (len(word) == 1 or word[1].isalpha())


def _is_quoting(text: str) -> bool:
    return text.rpartition("\n")[2].count('"') % 2 == 1
