"""What comes next in a text, asked of the engine: alone, or with other questions in one step of the network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import Backend
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.logits import softmax
from lstm_lm.inference.neural_cache import cache_distribution, interpolate
from lstm_lm.inference.prefix_cache import ModelOutput, PrefillTask, PrefixCache, decode_last_tokens
from lstm_lm.inference.ranking import allowed_mask, complete_oov, filter_oov, top_suggestions
from lstm_lm.text.casing import starts_sentence
from lstm_lm.text.completion import WordIndex, has_prefix
from lstm_lm.text.input_text import split_partial_word, tokenize_input
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
class PredictionRequest:
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
    cache: CacheConfig | None = None

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE)``."""
        found = [f"cache.{problem}" for problem in self.cache.problems()] if self.cache else []
        if self.k < 1:
            found.append(f"k: must be at least 1 (got {self.k})")
        return found


@dataclass(frozen=True)
class ParsedInput:
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
    reading: PrefillTask


class PendingPrediction:
    """One question on its way to its answer: :meth:`prefill`, then :func:`predict_batch`.

    Args:
        wanted: What is asked.
        vocabulary: The network's words.
        index: They, by how they begin.
        prefix_cache: What is known of texts.

    Raises:
        ConfigError: If ``wanted`` has a problem.
    """

    def __init__(
        self, wanted: PredictionRequest, vocabulary: Vocabulary, index: WordIndex, prefix_cache: PrefixCache
    ) -> None:
        if problems := wanted.problems():
            raise ConfigError(problems)
        self._wanted = wanted
        self._vocabulary = vocabulary
        self._index = index
        self._prefix_cache = prefix_cache

    def num_prefill_tokens(self) -> int:
        """Words that :meth:`prefill` will read; the first call cuts the text into words."""
        return self._text.reading.num_prefill_tokens

    @property
    def is_decoded(self) -> bool:
        """Whether only :meth:`answer` is left to do."""
        return self._text.reading.is_decoded

    def ranking_size(self) -> int:
        """Words that :meth:`answer` handles one by one: those of the neural cache and of the lists."""
        wanted = self._wanted
        return (len(self._text.words) if wanted.cache else 0) + len(wanted.allow or ()) + len(wanted.deny)

    def prefill(self, backend: Backend, max_tokens: int | None = None) -> int:
        """Read all but the last word of the text.

        Args:
            backend: Runs the network.
            max_tokens: Stop after about this many words; ``None`` reads to the end.

        Returns:
            Words that are left to read.
        """
        self._text.reading.prefill(backend, max_tokens)
        return self.num_prefill_tokens()

    @cached_property
    def _text(self) -> ParsedInput:
        typed = tokenize_input(self._wanted.text, self._vocabulary)
        words, lead, prefix = self._half_typed(typed, self._wanted.prefix.strip())
        ids = [self._vocabulary.eos_id, *self._vocabulary.encode(words)]
        learns = self._wanted.cache is not None and bool(words)
        unknown = unknown_words(typed, self._vocabulary)
        return ParsedInput(words, lead, prefix, unknown, self._prefix_cache.lookup(ids, features=learns))

    def _half_typed(self, words: list[str], prefix: str) -> tuple[list[str], str, str]:
        """All words that are finished, what ``prefix`` holds of them as typed, and the rest of it."""
        if self._index.candidates(prefix).texts or any(has_prefix(word, prefix) for word in words):
            return words, "", prefix
        # "well-kn" begins no word, because a corpus cuts it: "kn" goes on from "well-"
        finished, begun = split_partial_word(prefix, self._vocabulary)
        return [*words, *finished], prefix.removesuffix(begun), begun

    def answer(self) -> Prediction:
        """The answer, once the whole text is read."""
        wanted, text = self._wanted, self._text
        probs, oov = self._chances(text.reading.reading, text.words)
        capital = starts_sentence(text.words)
        candidates = self._index.candidates(text.prefix, capital)
        filters = (wanted.words_only, wanted.allow, wanted.deny)
        oov = complete_oov(filter_oov(oov, *filters), text.prefix, capital)
        best = top_suggestions(wanted.k, candidates, probs, oov, allowed_mask(candidates, self._index, *filters))
        return Prediction(tuple(Suggestion(text.lead + word, prob) for word, prob in best), text.unknown_words)

    def _chances(self, read: ModelOutput, words: Sequence[str]) -> tuple[NDArray[np.float64], Mapping[str, float]]:
        """Probabilities of the word after ``words``: the vocabulary's (V,), and those of words outside it."""
        probs = softmax(read.logits)
        cache = self._wanted.cache
        if cache is None or read.features is None:
            return probs, {}
        return interpolate(probs, cache_distribution(read.features, words, cache), cache.weight, self._vocabulary)


def predict_batch(backend: Backend, questions: Sequence[PendingPrediction]) -> list[Prediction]:
    """The answers, from one step of the network for all of them.

    Args:
        backend: Runs the network.
        questions: All of them have caught up.
    """
    decode_batch(backend, questions)
    return [question.answer() for question in questions]


def decode_batch(backend: Backend, questions: Sequence[PendingPrediction]) -> None:
    """Read the last word of every text, all in one step of the network.

    Args:
        backend: Runs the network.
        questions: All of them have caught up.
    """
    decode_last_tokens(backend, [question._text.reading for question in questions])


def unknown_words(words: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """Those of ``words`` that the vocabulary does not have: each once, as typed."""
    return tuple(dict.fromkeys(word for word in words if word not in vocabulary))
