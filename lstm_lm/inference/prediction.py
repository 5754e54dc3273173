"""Next-word predictions, one at a time or in a batch that shares one step of the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import Backend
from lstm_lm.inference.neural_cache import cache_distribution, interpolate
from lstm_lm.inference.prediction_request import Prediction, PredictionRequest, Suggestion
from lstm_lm.inference.prefill import ModelOutput, PrefillTask, decode_last_tokens
from lstm_lm.inference.prefix_cache import PrefixCache
from lstm_lm.inference.ranking import (
    BAR_SIZE,
    arrange,
    complete,
    complete_unaccented,
    score,
)
from lstm_lm.inference.user_words import add_user_words
from lstm_lm.inference.word_filters import WordFilters
from lstm_lm.text.casing import starts_sentence
from lstm_lm.text.completion import WordIndex, has_prefix
from lstm_lm.text.contractions import joins
from lstm_lm.text.edits import CORRECTION_WEIGHT, is_correctable
from lstm_lm.text.input_text import split_partial_word, split_text, tokenize_input
from lstm_lm.text.insertion import insertion
from lstm_lm.text.normalize import clean, normalize, typed_apostrophe
from lstm_lm.text.vocabulary import EOS, Vocabulary


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
    recent_words: list[str]
    """Words of the earlier texts, each text followed by ``<eos>``."""
    recent_task: PrefillTask | None
    """Runs the network on ``recent_words``."""


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
        recent = self._input.recent_task
        return self.prefill_task.num_prefill_tokens + (recent.num_prefill_tokens if recent else 0)

    def ranking_size(self) -> int:
        """Number of words that :meth:`result` processes one by one: the neural cache's, the user's and the lists'."""
        request, parsed = self._request, self._input
        cached = len(parsed.words) + len(parsed.recent_words) if request.cache else 0
        return cached + len(request.user_words) + len(request.allow or ()) + len(request.deny)

    def prefill(self, backend: Backend, max_tokens: int | None = None) -> int:
        """Process the earlier texts, and all but the last token of the text.

        Args:
            backend: Runs the network.
            max_tokens: Stop after about this many tokens; ``None`` is no limit.

        Returns:
            Number of tokens that remain to be processed.
        """
        recent = self._input.recent_task
        before = recent.num_prefill_tokens if recent else 0
        if recent and before:
            recent.prefill(backend, max_tokens)
        if not before or max_tokens is None:
            self.prefill_task.prefill(backend, max_tokens)
        return self.num_prefill_tokens()

    @property
    def prefill_task(self) -> PrefillTask:
        """Runs the network on the text."""
        return self._input.prefill_task

    @property
    def is_ready(self) -> bool:
        """Whether the network has processed everything."""
        return self.prefill_task.is_complete and not self.num_prefill_tokens()

    def result(self) -> Prediction:
        """The prediction, once it is ready."""
        request, parsed = self._request, self._input
        probs, oov = self._next_word_probs(parsed.prefill_task.output)
        if request.user_words:
            probs, oov = add_user_words(probs, oov, request.user_words)
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
            unaccented, plain_oov = index.unaccented(prefix, capital), complete_unaccented(oov, prefix, capital)
            if unaccented.surface_forms or plain_oov:  # few words have accents
                others.append(score(unaccented, probs, plain_oov, filters))
            if is_correctable(prefix) and len(exact) + sum(map(len, others)) < BAR_SIZE:
                corrected = score(index.corrections(prefix, capital, probs), probs, {}, filters)
                others.append(corrected.times(CORRECTION_WEIGHT))
        contraction = None
        if candidates.contraction is not None:
            forms = candidates.positions_ignoring_case[candidates.contraction]
            contraction = max(forms, key=exact.probs.__getitem__)
        return arrange(self._request.k, exact, others, prefix, self._request.typed_word, contraction)

    def _joined(self, probs: NDArray[np.float64]) -> NDArray[np.float64]:
        """``probs`` without the endings of contractions that no corpus joins to the last word: "don're".

        After a space, words only are words that begin there: no ending at all.
        """
        parsed = self._input
        attached = parsed.lead or not (parsed.text[-1:] or " ").isspace()
        if attached and parsed.prefix.startswith("'") and parsed.words:
            found = [(i, self._vocabulary.word(i)) for i in self._index.candidates(parsed.prefix).ids]
            excluded = [i for i, word in found if len(word) > 1 and not joins(parsed.words[-1], word)]
        elif not attached and not parsed.prefix and self._request.words_only:
            excluded = self._index.ending_ids
        else:
            return probs
        allowed = probs.copy()
        allowed[excluded] = 0.0
        return allowed

    @cached_property
    def _input(self) -> ParsedInput:
        request = self._request
        text, typed = split_text(request.text) if request.split else (request.text, request.prefix)
        typed = typed.lstrip()
        known = tokenize_input(text, self._vocabulary)
        words, lead, prefix = self._split_prefix(known, text, normalize(typed).rstrip())
        ids = [self._vocabulary.eos_id, *self._vocabulary.encode(words)]
        recent_words = [word for text in request.recent for word in (*tokenize_input(text, self._vocabulary), EOS)]
        task = self._prefix_cache.lookup(ids, features=request.cache is not None and bool(words or recent_words))
        recent_task = None
        if request.cache is not None and recent_words:
            # the states before each word, so that the last word itself is not read
            recent_ids = [self._vocabulary.eos_id, *self._vocabulary.encode(recent_words)]
            recent_task = self._prefix_cache.lookup(recent_ids, features=True)
        unknown = unknown_words(known, self._vocabulary)
        return ParsedInput(text, typed, words, lead, prefix, unknown, task, recent_words, recent_task)

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
        own = (normalize(word) for word in self._request.user_words)
        return self._index.has_candidates(prefix) or any(has_prefix(word, prefix) for word in chain(words, own))

    def _next_word_probs(self, output: ModelOutput) -> tuple[NDArray[np.float64], Mapping[str, float]]:
        """Probabilities after the text: of the vocabulary's words (V,), and of out-of-vocabulary words."""
        probs, parsed, cache = output.next_token.probs, self._input, self._request.cache
        if cache is None or output.features is None:
            return probs, {}
        features, words = output.features, parsed.words
        if parsed.recent_task is not None:
            features = np.concatenate([parsed.recent_task.prefilled_features, features])
            words = parsed.recent_words + words
        return interpolate(probs, cache_distribution(features, words, cache), cache.weight, self._vocabulary)


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
