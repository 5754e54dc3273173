"""Word lists in options and requests."""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from lstm_lm.text.vocabulary import Vocabulary

# @,@ is a word of WikiText that contains a comma
_ITEM = re.compile(r"\s*(@,@(?=\s*(?:,|$))|[^,]*)\s*(,|$)")


def parse_words(text: str) -> list[str]:
    """Parse a comma-separated list: ``",@-@`` is ``"`` and ``@-@``.

    An empty item is the comma itself: ``,`` is a comma, and ``the,,,a`` is ``the``, a comma and ``a``. A trailing comma
    ends the list. Spaces around a word are ignored.
    """
    words: list[str] = []
    position = 0
    while position < len(text):
        item = _ITEM.match(text, position)
        assert item is not None, "the pattern matches the empty string"
        words.append(item[1].strip() or ",")
        position = item.end()
    return list(dict.fromkeys(words)) if text.strip() else []


def as_words(words: str | Collection[str]) -> Collection[str]:
    """A list of words, which may be given as a comma-separated string."""
    return parse_words(words) if isinstance(words, str) else words


def parse_lists(texts: Iterable[str]) -> list[str]:
    """Parse the comma-separated lists of an option that was given several times."""
    return [word for text in texts for word in parse_words(text)]


def close_matches(word: str, vocabulary: Vocabulary) -> list[str]:
    """Words of the vocabulary that ``word`` may be a typo of, best first."""
    folded = word.casefold()
    # a typo rarely changes the first letter, and few words share it
    candidates = {
        other.casefold(): other
        for other in reversed(vocabulary.words)
        if abs(len(other) - len(word)) <= 2 and other.casefold()[:1] in (folded[:1], "@")
    }
    return [candidates[match] for match in get_close_matches(folded, candidates, n=3)]
