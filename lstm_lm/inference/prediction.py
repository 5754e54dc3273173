"""Next-word predictions, one at a time or in a batch that shares one step of the network."""

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
from lstm_lm.inference.prefill import ModelOutput, PrefillTask, decode_last_tokens
from lstm_lm.inference.prefix_cache import PrefixCache
from lstm_lm.inference.ranking import allowed_mask, complete_oov, filter_oov, top_suggestions
from lstm_lm.text.casing import starts_sentence
from lstm_lm.text.completion import WordIndex, has_prefix
from lstm_lm.text.input_text import split_partial_word, tokenize_input
from lstm_lm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Suggestion:
    """A next word as text, and its probability."""

    word: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The result of a prediction."""

    suggestions: tuple[Suggestion, ...]
    """Most probable first."""
    unknown_words: tuple[str, ...]
    """Out-of-vocabulary words of the text, each once, as typed."""


@dataclass(frozen=True)
class PredictionRequest:
    """The arguments of a prediction."""

    text: str
    """The text before the predicted word, as typed."""
    k: int = 10
    """Maximum number of suggestions; there are fewer if fewer words match."""
    prefix: str = ""
    """The partial word as typed.

    Matching ignores case. Suggestions keep typed capitals and are capitalized at the start of a sentence. The prefix
    may contain punctuation before or inside the word: "well-kn" suggests "well-known", '"th' suggests '"The'.
    """
    words_only: bool = False
    """Exclude punctuation and symbols: texts without a letter or digit."""
    allow: Collection[str] | None = None
    """Suggest only these words, ignoring case; ``None`` allows all."""
    deny: Collection[str] = ()
    """Never suggest these words, ignoring case. Overrides ``allow``."""
    cache: CacheConfig | None = None
    """Mix in a neural cache of ``text``, which can also suggest out-of-vocabulary words; ``None`` is off."""

    def problems(self) -> list[str]:
        """All errors, each as ``field: what is wrong (got VALUE)``."""
        problems = [f"cache.{problem}" for problem in self.cache.problems()] if self.cache else []
        if self.k < 1:
            problems.append(f"k: must be at least 1 (got {self.k})")
        return problems


@dataclass(frozen=True)
class ParsedInput:
    """The text and prefix of a request, tokenized."""

    words: list[str]
    """The complete words, including those at the beginning of the prefix."""
    lead: str
    """The part of the prefix that is in ``words``; put before every suggestion."""
    prefix: str
    """The rest of the prefix; every suggestion begins with it."""
    unknown_words: tuple[str, ...]
    """Out-of-vocabulary words of the text."""
    prefill_task: PrefillTask
    """Runs the network on ``words``."""


class PendingPrediction:
    """A prediction in progress: call :meth:`prefill`, then :func:`predict_batch`.

    Args:
        request: The arguments.
        vocabulary: The network's vocabulary.
        index: Prefix index of the vocabulary.
        prefix_cache: Cached network states.

    Raises:
        ConfigError: If ``request`` is invalid.
    """

    def __init__(
        self, request: PredictionRequest, vocabulary: Vocabulary, index: WordIndex, prefix_cache: PrefixCache
    ) -> None:
        if problems := request.problems():
            raise ConfigError(problems)
        self._request = request
        self._vocabulary = vocabulary
        self._index = index
        self._prefix_cache = prefix_cache

    def num_prefill_tokens(self) -> int:
        """Number of tokens that :meth:`prefill` will process. The first call tokenizes the text."""
        return self.prefill_task.num_prefill_tokens

    def ranking_size(self) -> int:
        """Number of words that :meth:`result` processes one by one: the neural cache's, ``allow`` and ``deny``."""
        request = self._request
        return (len(self._input.words) if request.cache else 0) + len(request.allow or ()) + len(request.deny)

    def prefill(self, backend: Backend, max_tokens: int | None = None) -> int:
        """Process all but the last token of the text.

        Args:
            backend: Runs the network.
            max_tokens: Stop after about this many tokens; ``None`` is no limit.

        Returns:
            Number of tokens that remain to be processed.
        """
        self.prefill_task.prefill(backend, max_tokens)
        return self.num_prefill_tokens()

    @property
    def prefill_task(self) -> PrefillTask:
        """Runs the network on the text."""
        return self._input.prefill_task

    def result(self) -> Prediction:
        """The prediction, once ``prefill_task`` is complete."""
        request, parsed = self._request, self._input
        probs, oov = self._next_word_probs(parsed.prefill_task.output, parsed.words)
        capital = starts_sentence(parsed.words)
        candidates = self._index.candidates(parsed.prefix, capital)
        filters = (request.words_only, request.allow, request.deny)
        oov = complete_oov(filter_oov(oov, *filters), parsed.prefix, capital)
        best = top_suggestions(request.k, candidates, probs, oov, allowed_mask(candidates, self._index, *filters))
        return Prediction(tuple(Suggestion(parsed.lead + word, prob) for word, prob in best), parsed.unknown_words)

    @cached_property
    def _input(self) -> ParsedInput:
        typed = tokenize_input(self._request.text, self._vocabulary)
        words, lead, prefix = self._split_prefix(typed, self._request.prefix.strip())
        ids = [self._vocabulary.eos_id, *self._vocabulary.encode(words)]
        uses_cache = self._request.cache is not None and bool(words)
        unknown = unknown_words(typed, self._vocabulary)
        return ParsedInput(words, lead, prefix, unknown, self._prefix_cache.lookup(ids, features=uses_cache))

    def _split_prefix(self, words: list[str], prefix: str) -> tuple[list[str], str, str]:
        """All complete words, the part of ``prefix`` that is among them, and the rest of ``prefix``."""
        if self._index.candidates(prefix).surface_forms or any(has_prefix(word, prefix) for word in words):
            return words, "", prefix
        # no word begins with "well-kn", as a corpus splits it at the hyphen: complete "kn" after "well-"
        complete, partial = split_partial_word(prefix, self._vocabulary)
        return [*words, *complete], prefix.removesuffix(partial), partial

    def _next_word_probs(
        self, output: ModelOutput, words: Sequence[str]
    ) -> tuple[NDArray[np.float64], Mapping[str, float]]:
        """Probabilities after ``words``: of the vocabulary's words (V,), and of out-of-vocabulary words."""
        probs = softmax(output.logits)
        cache = self._request.cache
        if cache is None or output.features is None:
            return probs, {}
        return interpolate(probs, cache_distribution(output.features, words, cache), cache.weight, self._vocabulary)


def predict_batch(backend: Backend, batch: Sequence[PendingPrediction]) -> list[Prediction]:
    """Complete a batch of predictions in one step of the network.

    Args:
        backend: Runs the network.
        batch: Predictions after :meth:`PendingPrediction.prefill`.
    """
    decode_batch(backend, batch)
    return [pending.result() for pending in batch]


def decode_batch(backend: Backend, batch: Sequence[PendingPrediction]) -> None:
    """Process the last token of every text in one step of the network; :meth:`PendingPrediction.result` then works.

    Args:
        backend: Runs the network.
        batch: Predictions after :meth:`PendingPrediction.prefill`.
    """
    decode_last_tokens(backend, [pending.prefill_task for pending in batch])


def unknown_words(words: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The out-of-vocabulary words among ``words``: each once, as typed."""
    return tuple(dict.fromkeys(word for word in words if word not in vocabulary))
