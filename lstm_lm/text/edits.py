"""Spelling corrections: the words that begin like a mistyped prefix after one edit.

An edit is a transposition, deletion, substitution or insertion of one letter (Norvig 2007, "How to Write a Spelling
Corrector"). The libraries for edit distances compare whole words; a keyboard corrects the *start* of a word while it is
typed, which they would only do with an index of every start of every word. Here the sorted keys of the prefix index
are enough: where no word begins with the letters before an edit, none begins with any edit after them.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from string import ascii_lowercase

CORRECTION_WEIGHT = 0.02
"""Share of a word's probability that counts for its correction: about how often one letter of a word is mistyped."""
MAX_CORRECTIONS = 20
"""Number of corrections that are ranked."""
AFTER_ALL = chr(0x10FFFF)
"""Sorts after every character, so ``key + AFTER_ALL`` follows all keys that begin with ``key``."""
_LETTERS = f"{ascii_lowercase}'"
LENGTHS = range(3, 21)  # a shorter start is close to everything, and no longer word is common


def is_correctable(prefix: str) -> bool:
    """Whether ``prefix`` is long enough for its mistyped letters to be found, and has no digits or symbols."""
    return len(prefix) in LENGTHS and prefix.isalpha()


def edited_ranges(keys: Sequence[str], prefix: str) -> Iterator[tuple[int, int]]:
    """Where ``keys`` have the words that begin with ``prefix`` after one edit.

    Without its last letter, ``prefix`` starts far too many words: that edit finds only the word that equals it.

    Args:
        keys: Sorted, in small letters.
        prefix: In small letters.

    Returns:
        Ranges of positions, which may overlap.
    """
    begin, end = 0, len(keys)

    def starting_with(text: str) -> Iterator[tuple[int, int]]:
        first = bisect_left(keys, text, begin, end)
        if first < end and keys[first].startswith(text):
            yield first, bisect_left(keys, text + AFTER_ALL, first, end)

    for position in range(len(prefix)):
        head, tail = prefix[:position], prefix[position:]
        begin, end = next(starting_with(head), (0, 0))
        for letter in _LETTERS if begin < end else "":
            for first, last in starting_with(head + letter):
                if letter == tail[0]:
                    continue  # the next position, or a letter that is typed twice
                begin_all, end_all, begin, end = begin, end, first, last
                yield from starting_with(head + letter + tail)
                yield from starting_with(head + letter + tail[1:])
                begin, end = begin_all, end_all
        if len(tail) > 1:
            yield from starting_with(head + tail[1:])
            yield from starting_with(head + tail[1] + tail[0] + tail[2:])
        elif begin < end and keys[begin] == head:
            yield begin, bisect_left(keys, head + "\0", begin, end)
