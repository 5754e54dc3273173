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
from lstm_lm.inference.ranking import (
    BAR_SIZE,
    CORRECTION_WEIGHT,
    TYPED_WORD,
    arrange,
    complete,
    complete_unaccented,
    score,
)
from lstm_lm.inference.word_filters import WordFilters
from lstm_lm.text.casing import starts_sentence
from lstm_lm.text.completion import WordIndex, has_prefix
from lstm_lm.text.contractions import joins
from lstm_lm.text.edits import is_correctable
from lstm_lm.text.input_text import split_partial_word, split_text, tokenize_input
from lstm_lm.text.insertion import insertion
from lstm_lm.text.normalize import clean, normalize, typed_apostrophe
from lstm_lm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Suggestion:
    """A next word as text, its probability, and how it joins the text before it."""

    word: str
    """As it is shown, with the typed beginning."""
    probability: float
    text: str = ""
    """What to type in place of the last ``replaces`` characters: the word, with a space before it where one belongs."""
    replaces: int = 0
    """Number of characters at the end of the text and prefix that ``text`` replaces, in Unicode code points."""
    space_before: bool = False
    """Whether a space then stands before the word."""


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

    Matching ignores case, and the sign that is typed as an apostrophe. Suggestions keep typed capitals and signs and
    are capitalized at the start of a sentence. The prefix may contain punctuation before or inside the word: "well-kn"
    suggests "well-known", '"th' suggests '"The'. Words that begin with it come first, then those that begin with it
    apart from accents; if they are fewer than three, then those that begin with it after one edit.
    """
    words_only: bool = False
    """Exclude punctuation and symbols: texts without a letter or digit."""
    allow: Collection[str] | None = None
    """Suggest only these words, ignoring case; ``None`` allows all."""
    deny: Collection[str] = ()
    """Never suggest these words, ignoring case. Overrides ``allow``."""
    cache: CacheConfig | None = None
    """Mix in a neural cache of ``text``, which can also suggest out-of-vocabulary words; ``None`` is off."""
    split: bool = False
    """Take the half-typed word at the end of ``text`` as the prefix; it needs an empty ``prefix``."""
    typed_word: str = "last"
    """Where the suggestion that equals the typed prefix goes: ``last``, ``ranked`` by its probability, or ``never``."""

    def problems(self) -> list[str]:
        """All errors, each as ``field: what is wrong (got VALUE)``."""
        problems = [f"cache.{problem}" for problem in self.cache.problems()] if self.cache else []
        if self.k < 1:
            problems.append(f"k: must be at least 1 (got {self.k})")
        if self.typed_word not in TYPED_WORD:
            problems.append(f"typed_word: unknown (got {self.typed_word!r}); use one of {', '.join(TYPED_WORD)}")
        if self.split and self.prefix:
            problems.append("split, prefix: split takes the prefix from the text; send only one of them")
        return problems


@dataclass(frozen=True)
class ParsedInput:
    """The text and prefix of a request, tokenized."""

    text: str
    """The text before the prefix, as typed."""
    typed: str
    """The prefix, as typed."""
    words: list[str]
    """The complete words, including those at the beginning of the prefix."""
    lead: str
    """The part of the prefix that is in ``words``, normalized; shown before every suggestion."""
    prefix: str
    """The rest of the prefix, normalized; every suggestion begins with it."""
    unknown_words: tuple[str, ...]
    """Out-of-vocabulary words of the text."""
    prefill_task: PrefillTask
    """Runs the network on ``words``."""


class PendingPrediction:
    """A prediction in progress: call :meth:`prefill`, then :func:`predict_batch`.

    Args:
        request: The arguments.
        vocabulary: The network's vocabulary.
        index: Prefix index of the vocabulary, without the blocked words.
        prefix_cache: Cached network states.
        blocked: Words that are never suggested, as ``normalized`` returns them.

    Raises:
        ConfigError: If ``request`` is invalid.
    """

    def __init__(
        self,
        request: PredictionRequest,
        vocabulary: Vocabulary,
        index: WordIndex,
        prefix_cache: PrefixCache,
        blocked: frozenset[str] = frozenset(),
    ) -> None:
        if problems := request.problems():
            raise ConfigError(problems)
        self._request = request
        self._vocabulary = vocabulary
        self._index = index
        self._prefix_cache = prefix_cache
        self._blocked = blocked

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
        filters = WordFilters.after(parsed.lead, request.words_only, request.allow, request.deny, self._blocked)
        capital = starts_sentence(parsed.words)
        best = self._ranked(probs, filters.allowed(oov), filters, capital)
        # in the sign that was typed; only normalize() changes it, one character for one
        lead = clean(parsed.typed)[: len(parsed.lead)]
        sign = typed_apostrophe(parsed.typed[len(lead) :], lead, parsed.text)
        shown = ((lead + word.replace("'", sign), prob) for word, prob in best)
        suggestions = (Suggestion(word, prob, *insertion(parsed.text, parsed.typed, word)) for word, prob in shown)
        return Prediction(tuple(suggestions), parsed.unknown_words)

    def _ranked(
        self, probs: NDArray[np.float64], oov: Mapping[str, float], filters: WordFilters, capital: bool
    ) -> list[tuple[str, float]]:
        """The suggestions without the lead, in order, and their probabilities."""
        index, prefix = self._index, self._input.prefix
        candidates = index.candidates(prefix, capital)
        exact = score(candidates, self._joined(probs), complete(oov, prefix, capital), filters)
        others = []
        if prefix:
            unaccented = complete_unaccented(oov, prefix, capital)
            others.append(score(index.unaccented(prefix, capital), probs, unaccented, filters))
            if is_correctable(prefix) and len(exact) + len(others[0]) < BAR_SIZE:
                corrected = score(index.corrections(prefix, capital, probs), probs, {}, filters)
                others.append(corrected.times(CORRECTION_WEIGHT))
        contraction = None if candidates.contraction is None else candidates.surface_forms[candidates.contraction]
        return arrange(self._request.k, exact, others, prefix, self._request.typed_word, contraction)

    def _joined(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """``probs`` without the endings of contractions that no corpus joins to the last word: "don're"."""
        parsed = self._input
        attached = parsed.lead or not (parsed.text[-1:] or " ").isspace()
        if not parsed.prefix.startswith("'") or not attached or not parsed.words:
            return probs
        allowed = probs.copy()
        for i in self._index.candidates(parsed.prefix).ids:
            ending = self._vocabulary.word(i)
            if len(ending) > 1 and not joins(parsed.words[-1], ending):
                allowed[i] = 0.0
        return allowed

    @cached_property
    def _input(self) -> ParsedInput:
        request = self._request
        text, typed = split_text(request.text) if request.split else (request.text, request.prefix)
        typed = typed.lstrip()
        known = tokenize_input(text, self._vocabulary)
        words, lead, prefix = self._split_prefix(known, text, normalize(typed).rstrip())
        ids = [self._vocabulary.eos_id, *self._vocabulary.encode(words)]
        uses_cache = request.cache is not None and bool(words)
        task = self._prefix_cache.lookup(ids, features=uses_cache)
        return ParsedInput(text, typed, words, lead, prefix, unknown_words(known, self._vocabulary), task)

    def _split_prefix(self, words: list[str], text: str, prefix: str) -> tuple[list[str], str, str]:
        """All complete words, the part of ``prefix`` that is among them, and the rest of ``prefix``."""
        # after a space, an apostrophe opens a quote and continues no word
        quoted = prefix.startswith("'") and (text[-1:] or " ").isspace()
        if not quoted and self._has_completion(words, prefix):
            return words, "", prefix
        # no word begins with "well-kn", as a corpus splits it at the hyphen: complete "kn" after "well-"
        complete, partial = split_partial_word(prefix, self._vocabulary) if prefix else ([], "")
        if quoted and self._has_completion(words, prefix) and not self._has_completion(words, partial):
            return words, "", prefix
        return [*words, *complete], prefix.removesuffix(partial), partial

    def _has_completion(self, words: Sequence[str], prefix: str) -> bool:
        return bool(self._index.candidates(prefix).surface_forms) or any(has_prefix(word, prefix) for word in words)

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
