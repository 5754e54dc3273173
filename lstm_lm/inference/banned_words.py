"""Words that are never generated, as tokens of a vocabulary."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

from lstm_lm.errors import ConfigError
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.word_lists import close_matches
from lstm_lm.text.completion import normalized
from lstm_lm.text.input_text import tokenize_chunk
from lstm_lm.text.vocabulary import Vocabulary

TokenSequence: TypeAlias = tuple[frozenset[int], ...]
"""A word as the tokens that spell it: one set of ids per token, which has the token in every case."""

_MAX_CORRECTED = 3  # each correction searches the vocabulary, and a list may be long


class TokenForms:
    """Finds the tokens that spell a word, ignoring case and the sign of an apostrophe.

    Args:
        vocabulary: The model's vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids: dict[str, list[int]] = {}
        for i, word in enumerate(vocabulary.words):
            self._ids.setdefault(normalized(word), []).append(i)

    def sequences(self, word: str) -> list[TokenSequence]:
        """Every way to spell ``word``: as one token, and as the tokens that a corpus splits it into.

        ``The`` is one token, in every case that the vocabulary has; "don't" may be ``don 't``. Empty if the model
        cannot generate the word.
        """
        own = self._ids.get(normalized(word))
        found: list[TokenSequence] = [(frozenset(own),)] if own else []
        parts = [self._ids.get(normalized(part)) for chunk in word.split() for part in tokenize_chunk(chunk)]
        if len(parts) > 1 and all(parts):
            found.append(tuple(frozenset(part or ()) for part in parts))
        return found

    def require(self, words: Iterable[str], name: str) -> list[TokenSequence]:
        """The sequences of words that the model must be able to generate.

        Args:
            words: The words.
            name: The setting that they come from, for the message.

        Raises:
            ConfigError: If the model cannot generate some of them; names each, and suggests corrections for the first
                few.
        """
        found = {word: self.sequences(word) for word in words}
        unknown = [word for word, sequences in found.items() if not sequences]
        if unknown:
            matches = {word: close_matches(word, self._vocabulary) for word in unknown[:_MAX_CORRECTED]}
            raise ConfigError(
                [
                    f"{name}: not in the vocabulary (got {word!r}); "
                    + (f"did you mean {', '.join(map(repr, matches[word]))}?" if matches.get(word) else "remove it")
                    for word in unknown
                ]
            )
        return [sequence for sequences in found.values() for sequence in sequences]


class BannedWords:
    """The tokens that may not come next.

    Args:
        sequences: The banned words; a word is never completed.
        ids: Further banned tokens.
    """

    def __init__(self, sequences: Iterable[TokenSequence], ids: Collection[int] = ()) -> None:
        sequences = list(sequences)
        singles = frozenset(i for sequence in sequences if len(sequence) == 1 for i in sequence[0])
        self.ids = tuple(sorted(singles.union(ids)))
        """Tokens that are always banned."""
        self._sequences = [sequence for sequence in sequences if len(sequence) > 1]

    def after(self, ids: Sequence[int]) -> list[int]:
        """Tokens that would complete a banned word of several tokens after ``ids``."""
        return [i for *start, last in self._sequences if _ends_with(ids, start) for i in last]


def without_used(sequences: Iterable[TokenSequence], ids: Sequence[int]) -> list[TokenSequence]:
    """The sequences that do not occur in ``ids``."""
    used = set(ids)
    return [
        sequence
        for sequence in sequences
        if sequence[0].isdisjoint(used)
        or not any(_ends_with(ids[: end + 1], sequence) for end in range(len(ids)) if ids[end] in sequence[-1])
    ]


def validate_banned_words(presets: Mapping[str, SamplingConfig], vocabulary: Vocabulary) -> None:
    """Check that the model can generate every word that ``presets`` ban.

    Raises:
        ConfigError: If it cannot generate one of them.
    """
    if any(preset.ban_tokens for preset in presets.values()):
        forms = TokenForms(vocabulary)
        for name, preset in presets.items():
            forms.require(preset.ban_tokens, f"presets.{name}.ban_tokens")


def _ends_with(ids: Sequence[int], sequence: Sequence[frozenset[int]]) -> bool:
    tail = ids[len(ids) - len(sequence) :] if len(ids) >= len(sequence) else ()
    return bool(tail) and all(i in allowed for i, allowed in zip(tail, sequence, strict=True))
