"""Lists of words as people give them."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from lstm_lm.errors import ConfigError
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.text.vocabulary import Vocabulary

# @,@ is one of WikiText's words and holds a comma itself
_ITEM = re.compile(r"\s*(@,@(?=\s*(?:,|$))|[^,]*)\s*(,|$)")
_MOST_PROPOSALS = 3


def parse_words(text: str) -> list[str]:
    """Words from one string with commas between: ``",@-@`` is ``"`` and ``@-@``.

    An empty place is the comma itself, so ``,`` is a comma, and ``the,,,a`` is ``the``, a comma and ``a``; one comma
    at the very end only ends the list. Spaces around a word do not count.
    """
    words: list[str] = []
    position = 0
    while position < len(text):
        item = _ITEM.match(text, position)
        assert item is not None, "every part of the pattern may be empty"
        words.append(item[1].strip() or ",")
        position = item.end()
    return list(dict.fromkeys(words)) if text.strip() else []


def parse_lists(texts: Iterable[str]) -> list[str]:
    """Words from several strings with commas between, as an option gives that is repeated."""
    return [word for text in texts for word in parse_words(text)]


def require_ids(words: Iterable[str], vocabulary: Vocabulary, name: str) -> list[int]:
    """Ids of words that must be in the vocabulary.

    Args:
        words: As the vocabulary spells them.
        vocabulary: Of the model.
        name: The setting that they come from, for the message.

    Raises:
        ConfigError: If words are not in the vocabulary; it names each, and the closest ones to the first few.
    """
    words = list(words)
    unknown = [word for word in dict.fromkeys(words) if word not in vocabulary]
    if unknown:
        # a search through the vocabulary takes time, and a list from a request may be long
        near = {word: _close_matches(word, vocabulary) for word in unknown[:_MOST_PROPOSALS]}
        raise ConfigError(
            [
                f"{name}: not in the vocabulary (got {word!r}); "
                + (f"did you mean {', '.join(map(repr, near[word]))}?" if near.get(word) else "leave it out")
                for word in unknown
            ]
        )
    return [vocabulary.id(word) for word in words]


def validate_banned_words(presets: Mapping[str, SamplingConfig], vocabulary: Vocabulary) -> None:
    """Look for words that ``presets``, by name, ban and that are not in the vocabulary.

    Raises:
        ConfigError: If there are some.
    """
    for name, preset in presets.items():
        require_ids(preset.ban_tokens, vocabulary, f"presets.{name}.ban_tokens")


def _close_matches(word: str, vocabulary: Vocabulary) -> list[str]:
    folded = word.casefold()
    # what begins alike is nearly always what was meant, and a fraction of the words to compare with
    candidates = {
        other.casefold(): other
        for other in reversed(vocabulary.words)
        if abs(len(other) - len(word)) <= 2 and other.casefold()[:1] in (folded[:1], "@")
    }
    return [candidates[near] for near in get_close_matches(folded, candidates, n=3)]
