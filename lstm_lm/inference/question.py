"""What comes next in a text, asked of the engine: alone, or with other questions in one step of the network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import Backend
from lstm_lm.inference.logits import probabilities
from lstm_lm.inference.neural_cache import cached_words, mixed
from lstm_lm.inference.prefix_cache import PrefixCache, Reading, Text, read_last_words
from lstm_lm.inference.spec import CacheSpec
from lstm_lm.inference.suggesting import completed, left_in, most_probable, others_left_in
from lstm_lm.text.casing import starts_sentence
from lstm_lm.text.completion import WordIndex, begins_with
from lstm_lm.text.typed import half_typed, typed_words
from lstm_lm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Suggestion:
    """A next word, written as text, and its probability."""

    word: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """Suggestions, most probable first, and the words of the text that the model never saw."""

    suggestions: tuple[Suggestion, ...]
    unknown_words: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What is asked.

    Attributes:
        text: What was typed before, as typed.
        k: Most suggestions to give; there are fewer where fewer words fit.
        prefix: The beginning of the word, as far as it is typed. Case does not matter for what fits; capitals that were
            typed are kept. Where a sentence begins, so does every suggestion with a capital. Signs before the word or
            inside it may stand there: "well-kn" is "well-known", '"th' is '"The'.
        words_only: Leave out punctuation and symbols: what holds no letter and no digit.
        allow: Leave in nothing but these words, whatever their case; ``None`` leaves in all.
        deny: Leave out these words, whatever their case, though they be in ``allow``.
        cache: Let the words of ``text`` count again (Grave et al. 2017), and offer those too that the model never saw;
            ``None`` is the model alone.
    """

    text: str
    k: int = 10
    prefix: str = ""
    words_only: bool = False
    allow: Collection[str] | None = None
    deny: Collection[str] = ()
    cache: CacheSpec | None = None

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE)``."""
        found = [f"cache.{problem}" for problem in self.cache.problems()] if self.cache else []
        if self.k < 1:
            found.append(f"k: must be at least 1 (got {self.k})")
        return found


@dataclass(frozen=True)
class _Opened:
    """The text of a question.

    Attributes:
        words: Its finished words, with those that the half-typed one holds.
        lead: What is typed of the next word and stays in front of every suggestion.
        prefix: What a suggestion has to begin with.
        unknown_words: Words that the model never saw.
        reading: The words on their way through the network.
    """

    words: list[str]
    lead: str
    prefix: str
    unknown_words: tuple[str, ...]
    reading: Text


class Question:
    """One question on its way to its answer: :meth:`catch_up`, then :func:`answers`.

    Args:
        wanted: What is asked.
        vocabulary: The network's words.
        index: They, by how they begin.
        prefix_cache: What is known of texts.

    Raises:
        ConfigError: If ``wanted`` has a problem.
    """

    def __init__(self, wanted: Wanted, vocabulary: Vocabulary, index: WordIndex, prefix_cache: PrefixCache) -> None:
        if problems := wanted.problems():
            raise ConfigError(problems)
        self._wanted = wanted
        self._vocabulary = vocabulary
        self._index = index
        self._prefix_cache = prefix_cache

    def num_left(self) -> int:
        """Words that :meth:`catch_up` will read; the first call cuts the text into words."""
        return self._text.reading.num_left

    @property
    def is_read(self) -> bool:
        """Whether only :meth:`answer` is left to do."""
        return self._text.reading.is_read

    def ranking_size(self) -> int:
        """Words that :meth:`answer` handles one by one: those of the neural cache and of the lists."""
        wanted = self._wanted
        return (len(self._text.words) if wanted.cache else 0) + len(wanted.allow or ()) + len(wanted.deny)

    def catch_up(self, backend: Backend, max_words: int | None = None) -> int:
        """Read all but the last word of the text.

        Args:
            backend: Runs the network.
            max_words: Stop after about this many words; ``None`` reads to the end.

        Returns:
            Words that are left to read.
        """
        self._text.reading.catch_up(backend, max_words)
        return self.num_left()

    @cached_property
    def _text(self) -> _Opened:
        typed = typed_words(self._wanted.text, self._vocabulary)
        words, lead, prefix = self._half_typed(typed, self._wanted.prefix.strip())
        ids = [self._vocabulary.eos_id, *self._vocabulary.encode(words)]
        learns = self._wanted.cache is not None and bool(words)
        unknown = unknown_words(typed, self._vocabulary)
        return _Opened(words, lead, prefix, unknown, self._prefix_cache.open(ids, features=learns))

    def _half_typed(self, words: list[str], prefix: str) -> tuple[list[str], str, str]:
        """All words that are finished, what ``prefix`` holds of them as typed, and the rest of it."""
        if self._index.offers(prefix).texts or any(begins_with(word, prefix) for word in words):
            return words, "", prefix
        # "well-kn" begins no word, because a corpus cuts it: "kn" goes on from "well-"
        finished, begun = half_typed(prefix, self._vocabulary)
        return [*words, *finished], prefix.removesuffix(begun), begun

    def answer(self) -> Prediction:
        """The answer, once the whole text is read."""
        wanted, text = self._wanted, self._text
        chances, others = self._chances(text.reading.reading, text.words)
        capital = starts_sentence(text.words)
        offers = self._index.offers(text.prefix, capital)
        filters = (wanted.words_only, wanted.allow, wanted.deny)
        others = completed(others_left_in(others, *filters), text.prefix, capital)
        best = most_probable(wanted.k, offers, chances, others, left_in(offers, self._index, *filters))
        return Prediction(tuple(Suggestion(text.lead + word, chance) for word, chance in best), text.unknown_words)

    def _chances(self, read: Reading, words: Sequence[str]) -> tuple[NDArray[np.float64], Mapping[str, float]]:
        """Probabilities of the word after ``words``: the vocabulary's (V,), and those of words outside it."""
        chances = probabilities(read.logits)
        cache = self._wanted.cache
        if cache is None or read.features is None:
            return chances, {}
        return mixed(chances, cached_words(read.features, words, cache), cache.weight, self._vocabulary)


def answers(backend: Backend, questions: Sequence[Question]) -> list[Prediction]:
    """The answers, from one step of the network for all of them.

    Args:
        backend: Runs the network.
        questions: All of them have caught up.
    """
    read_together(backend, questions)
    return [question.answer() for question in questions]


def read_together(backend: Backend, questions: Sequence[Question]) -> None:
    """Read the last word of every text, all in one step of the network.

    Args:
        backend: Runs the network.
        questions: All of them have caught up.
    """
    read_last_words(backend, [question._text.reading for question in questions])


def unknown_words(words: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Those of ``words`` that the vocabulary does not have: each once, as typed."""
    return tuple(dict.fromkeys(word for word in words if word not in vocabulary))
