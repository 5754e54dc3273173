"""Word lists in options and requests: parsing and vocabulary checks."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from lstm_lm.errors import ConfigError
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.text.vocabulary import Vocabulary

# @,@ is a word of WikiText that contains a comma
_ITEM = re.compile(r"\s*(@,@(?=\s*(?:,|$))|[^,]*)\s*(,|$)")
_MAX_CORRECTED = 3  # each correction searches the vocabulary, and a list may be long


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


def parse_lists(texts: Iterable[str]) -> list[str]:
    """Parse the comma-separated lists of an option that was given several times."""
    return [word for text in texts for word in parse_words(text)]


def require_ids(words: Iterable[str], vocabulary: Vocabulary, name: str) -> list[int]:
    """Ids of words that must be in the vocabulary.

    Args:
        words: In the vocabulary's spelling.
        vocabulary: The model's vocabulary.
        name: The setting that they come from, for the message.

    Raises:
        ConfigError: If words are not in the vocabulary; names each, and suggests corrections for the first few.
    """
    words = list(words)
    unknown = [word for word in dict.fromkeys(words) if word not in vocabulary]
    if unknown:
        matches = {word: _close_matches(word, vocabulary) for word in unknown[:_MAX_CORRECTED]}
        raise ConfigError(
            [
                f"{name}: not in the vocabulary (got {word!r}); "
                + (f"did you mean {', '.join(map(repr, matches[word]))}?" if matches.get(word) else "remove it")
                for word in unknown
            ]
        )
    return [vocabulary.id(word) for word in words]


def validate_banned_words(presets: Mapping[str, SamplingConfig], vocabulary: Vocabulary) -> None:
    """Check that the vocabulary contains every word that ``presets`` ban.

    Args:
        presets: Sampling presets by name.
        vocabulary: The model's vocabulary.

    Raises:
        ConfigError: If it does not contain one of them.
    """
    for name, preset in presets.items():
        require_ids(preset.ban_tokens, vocabulary, f"presets.{name}.ban_tokens")


def _close_matches(word: str, vocabulary: Vocabulary) -> list[str]:
    folded = word.casefold()
    # a typo rarely changes the first letter, and few words share it
    candidates = {
        other.casefold(): other
        for other in reversed(vocabulary.words)
        if abs(len(other) - len(word)) <= 2 and other.casefold()[:1] in (folded[:1], "@")
    }
    return [candidates[match] for match in get_close_matches(folded, candidates, n=3)]
