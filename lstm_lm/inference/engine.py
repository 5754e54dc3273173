"""The inference engine, shared by the commands, the service and the training samples."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import Backend
from lstm_lm.inference.banned_words import BannedWords, TokenForms, validate_banned_words, without_used
from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.prediction import PendingPrediction, predict_batch, unknown_words
from lstm_lm.inference.prediction_request import Prediction, PredictionRequest
from lstm_lm.inference.prefix_cache import PrefixCache
from lstm_lm.inference.sampling import with_seed
from lstm_lm.inference.sequences import ActiveSequence, sample_next, step_batch
from lstm_lm.inference.word_lists import as_words
from lstm_lm.text.completion import WordIndex, normalized
from lstm_lm.text.detokenize import detokenize_continuation
from lstm_lm.text.input_text import tokenize_input
from lstm_lm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class GenerationResult:
    """The result of :meth:`Engine.generate`."""

    text: str
    """The prompt as typed, followed by its continuation."""
    words: tuple[str, ...]
    """The generated words in the vocabulary's spelling."""
    unknown_words: tuple[str, ...]
    """Out-of-vocabulary words of the prompt."""
    finish_reason: str
    """Why the text ends: ``length`` or ``end_of_line``."""
    seed: int | None
    """Reproduces the words; ``None`` for greedy decoding."""


class Engine:
    """Predicts and generates text with a network. Thread-safe; calls do not affect each other's results.

    Every text is treated as the start of a line of the corpus: its first word is predicted from ``<eos>``.

    Args:
        backend: Runs the network.
        vocabulary: The network's vocabulary.
        presets: Sampling presets by name.
        default_preset: The preset to use if none is named.
        prefix_cache_size: Number of token prefixes whose LSTM state is cached, so that each word added to a text costs
            one step.
            0 disables the cache; required while the weights still change.
        blocked: Words that are never suggested, and generated only if the prompt has them, in any case.
        cache: The neural cache of requests that switch it on without settings; ``None`` is ``CacheConfig()``.

    Raises:
        ConfigError: If a preset bans a word that is not in the vocabulary.
    """

    def __init__(
        self,
        backend: Backend,
        vocabulary: Vocabulary,
        presets: Mapping[str, SamplingConfig],
        default_preset: str,
        prefix_cache_size: int = 0,
        blocked: Collection[str] = (),
        cache: CacheConfig | None = None,
    ) -> None:
        assert backend.vocab_size == len(vocabulary), f"{backend.vocab_size} outputs, {len(vocabulary)} words"
        assert default_preset in presets, f"{default_preset} is not one of {list(presets)}"
        validate_banned_words(presets, vocabulary)
        self.backend = backend
        self.vocabulary = vocabulary
        self.presets: Mapping[str, SamplingConfig] = MappingProxyType(dict(presets))
        self.default_preset = default_preset
        self.default_cache = CacheConfig() if cache is None else cache
        self.prefix_cache = PrefixCache(prefix_cache_size)
        self._blocked = frozenset(map(normalized, blocked))
        self._forms = TokenForms(vocabulary)
        self._blocked_sequences = [sequence for word in blocked for sequence in self._forms.sequences(word)]
        self._index = WordIndex(vocabulary, self._blocked)

    def prepare(self, request: PredictionRequest) -> PendingPrediction:
        """Prepare a prediction for :func:`predict_batch`.

        Raises:
            ConfigError: If ``request`` is invalid.
        """
        if request.cache is None and request.recent:
            request = replace(request, cache=self.default_cache)
        return PendingPrediction(request, self.vocabulary, self._index, self.prefix_cache, self._blocked)

    def predict(
        self,
        text: str,
        k: int = 10,
        prefix: str = "",
        *,
        words_only: bool = False,
        allow: str | Collection[str] | None = None,
        deny: str | Collection[str] = (),
        cache: CacheConfig | bool | None = None,
        split: bool = False,
        typed_word: str = "last",
        user_words: Mapping[str, float] | None = None,
        recent: Sequence[str] = (),
    ) -> Prediction:
        """Suggest the next word.

        Probabilities are renormalized over all words that the filters allow. ``<unk>`` and ``<eos>`` are never
        suggested. Words with the same surface form ("-" and ``@-@``, or "The" and "the" at the start of a sentence or
        with prefix "Th") are one suggestion with the sum of their probabilities.

        The arguments are the fields of ``PredictionRequest``; a list of words may be a comma-separated string, and
        ``cache`` may be ``True`` for the model's own settings or ``False``.

        Raises:
            ConfigError: If an argument is invalid.
        """
        allowed = None if allow is None else as_words(allow)
        if isinstance(cache, bool):
            # None is on if there are earlier texts
            cache, recent = (self.default_cache, recent) if cache else (None, ())
        request = PredictionRequest(
            text,
            k,
            prefix,
            words_only,
            allowed,
            as_words(deny),
            cache,
            split,
            typed_word,
            user_words or {},
            recent,
        )
        pending = self.prepare(request)
        pending.prefill(self.backend)
        return predict_batch(self.backend, [pending])[0]

    def start_generation(self, prompt: str, sampling: SamplingConfig, max_words: int) -> ActiveSequence:
        """Process a prompt and return the sequence that continues it.

        Args:
            prompt: The text to continue, as typed.
            sampling: Sampling options; without a seed, each call generates different words.
            max_words: Maximum number of words, ``<eos>`` included.

        Raises:
            ConfigError: If ``sampling`` is invalid, bans every word or a word that is not in the vocabulary, or if
                ``max_words`` is below 1.
        """
        given: object = prompt  # a caller may not check types
        problems = [] if isinstance(given, str) else [f"text: must be a string (got {given!r})"]
        problems += sampling.problems()
        if max_words < 1:
            problems.append(f"generate: must be at least 1 (got {max_words})")
        if problems:
            raise ConfigError(problems)
        words = tokenize_input(prompt, self.vocabulary)
        ids = self.vocabulary.encode(words)
        banned = self._banned(sampling, ids)
        output = self.prefix_cache.forward(self.backend, [self.vocabulary.eos_id, *ids])
        unknown = unknown_words(words, self.vocabulary)
        logits = output.next_token.logits
        return ActiveSequence(self.vocabulary, ids, sampling, max_words, banned, logits, output.state, unknown)

    def stream(self, prompt: str, sampling: SamplingConfig, max_words: int) -> Iterator[str]:
        """Generate word by word, one step of the network per word. Arguments as in :meth:`start_generation`.

        Returns:
            Words in the vocabulary's spelling, ``<eos>`` included. With ``stop_eos`` the stream ends before the first
            ``<eos>``.

        Raises:
            ConfigError: As :meth:`start_generation`; raised by the call, not by the first iteration.
        """
        return self._generate_words(self.start_generation(prompt, sampling, max_words))

    def generate(self, prompt: str, sampling: SamplingConfig, max_words: int) -> GenerationResult:
        """Generate a continuation and return it as text.

        Args:
            prompt: The text to continue. The result keeps it as typed.
            sampling: Sampling options; without a seed, one is drawn and reported.
            max_words: Maximum number of words, ``<eos>`` included.

        Raises:
            ConfigError: As :meth:`start_generation`.
        """
        sampling = with_seed(sampling)
        sequence = self.start_generation(prompt, sampling, max_words)
        words = tuple(self._generate_words(sequence))
        text = prompt + detokenize_continuation(prompt, words)
        return GenerationResult(text, words, sequence.unknown_words, sequence.finish_reason, sampling.seed)

    def resolve_sampling(self, preset: str | None = None, **overrides: Any) -> SamplingConfig:
        """A preset with some fields overridden.

        Args:
            preset: Its name; ``None`` is the default preset.
            overrides: Fields of ``SamplingConfig``; ``None`` keeps the preset's value. ``topk`` is ``top_k``, and a
                temperature of 0 is ``greedy``.

        Raises:
            ConfigError: If the preset is unknown, or the result is invalid.
        """
        name = self.default_preset if preset is None else preset
        if name not in self.presets:
            raise ConfigError([f"preset: unknown (got {name!r}); use one of {', '.join(self.presets)}"])
        given = {field: value for field, value in overrides.items() if value is not None}
        if "topk" in given:
            given["top_k"] = given.pop("topk")
        if given.get("temperature") == 0:
            del given["temperature"]
            given["strategy"] = "greedy"
        sampling = replace(self.presets[name], **given)
        if problems := sampling.problems():
            raise ConfigError(problems)
        return sampling

    def resolve_cache(self, **overrides: Any) -> CacheConfig:
        """The model's neural cache with some fields overridden.

        Args:
            overrides: Fields of ``CacheConfig``; ``None`` keeps the model's value.
        """
        return replace(self.default_cache, **{name: value for name, value in overrides.items() if value is not None})

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Out-of-vocabulary words of ``text``: each once, as typed."""
        return unknown_words(tokenize_input(text, self.vocabulary), self.vocabulary)

    def _generate_words(self, sequence: ActiveSequence) -> Iterator[str]:
        while (word := sample_next([sequence])[0]) is not None:
            yield word
            if sequence.needs_step:
                step_batch(self.backend, [sequence])

    def _banned(self, sampling: SamplingConfig, prompt_ids: Sequence[int]) -> BannedWords:
        sequences = self._forms.require(sampling.ban_tokens, "ban_tokens")
        sequences += without_used(self._blocked_sequences, prompt_ids)
        special = {*self.vocabulary.placeholder_ids, *([self.vocabulary.unk_id] if sampling.ban_unk else [])}
        banned = BannedWords(sequences, special)
        if len(banned.ids) == len(self.vocabulary):
            raise ConfigError(["ban_tokens: every word of the vocabulary is banned; allow at least one"])
        return banned
