"""The one engine: text in, suggestions or generated words out. Command, service and training samples all use it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import Backend
from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.prediction import PendingPrediction, Prediction, PredictionRequest, predict_batch, unknown_words
from lstm_lm.inference.prefix_cache import PrefixCache
from lstm_lm.inference.sampling import with_seed
from lstm_lm.inference.sequences import ActiveSequence, step_batch
from lstm_lm.inference.word_lists import require_ids, validate_banned_words
from lstm_lm.text.completion import WordIndex
from lstm_lm.text.input_text import detokenize_continuation, tokenize_input
from lstm_lm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class GenerationResult:
    """A text that was continued.

    Attributes:
        text: The prompt as it was typed, and its continuation.
        words: The words of the continuation as the vocabulary spells them.
        unknown_words: Words of the prompt that the model never saw.
        seed: Gives the same words again; ``None`` where nothing was drawn.
    """

    text: str
    words: tuple[str, ...]
    unknown_words: tuple[str, ...]
    seed: int | None


class Engine:
    """Answers with a network. An answer depends on the call alone, and several threads may call it at once.

    Every text begins where a line of the corpus does: its first word is predicted from ``<eos>``.

    Args:
        backend: Runs the network.
        vocabulary: The network's words.
        presets: Sampling presets by name.
        default_preset: The one that is meant when none is named.
        prefix_cache_size: Most beginnings of texts whose state is kept, so that a text that grew costs a step a word;
            0 keeps none, as is right where the weights still change.

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
    ) -> None:
        assert backend.vocab_size == len(vocabulary), f"{backend.vocab_size} outputs, {len(vocabulary)} words"
        assert default_preset in presets, f"{default_preset} is not one of {list(presets)}"
        validate_banned_words(presets, vocabulary)
        self.backend = backend
        self.vocabulary = vocabulary
        self.presets: Mapping[str, SamplingConfig] = MappingProxyType(dict(presets))
        self.default_preset = default_preset
        self.prefix_cache = PrefixCache(prefix_cache_size)
        self._index = WordIndex(vocabulary)

    def prepare(self, wanted: PredictionRequest) -> PendingPrediction:
        """A question that is answered together with others.

        Raises:
            ConfigError: If ``wanted`` has a problem.
        """
        return PendingPrediction(wanted, self.vocabulary, self._index, self.prefix_cache)

    def predict(
        self,
        text: str,
        k: int = 10,
        prefix: str = "",
        *,
        words_only: bool = False,
        allow: Collection[str] | None = None,
        deny: Collection[str] = (),
        cache: CacheConfig | None = None,
    ) -> Prediction:
        """Suggest the next word.

        A probability is that of the word given that it is one of those left in: over all of them they sum to 1.
        ``<unk>`` and ``<eos>`` are always left out. Words that read the same ("-" and ``@-@``, or "The" and "the"
        after a typed "Th" or where a sentence begins) are one suggestion with the sum of their probabilities.

        The arguments are the fields of ``PredictionRequest``.

        Raises:
            ConfigError: If ``k`` is below 1, or ``cache`` has a problem.
        """
        question = self.prepare(PredictionRequest(text, k, prefix, words_only, allow, deny, cache))
        question.prefill(self.backend)
        return predict_batch(self.backend, [question])[0]

    def start_generation(self, prompt: str, sampling: SamplingConfig, max_words: int) -> ActiveSequence:
        """Read a text that is to go on.

        Args:
            prompt: The text so far, as typed.
            sampling: How words are chosen; without a seed each call draws other words.
            max_words: Most words to give, ``<eos>`` counted as one.

        Raises:
            ConfigError: If ``sampling`` has a problem, names a word that is not in the vocabulary or bans every
                word, or if ``max_words`` is below 1.
        """
        problems = sampling.problems()
        if max_words < 1:
            problems.append(f"generate: must be at least 1 (got {max_words})")
        if problems:
            raise ConfigError(problems)
        banned = self._banned_ids(sampling)
        words = tokenize_input(prompt, self.vocabulary)
        ids = self.vocabulary.encode(words)
        read = self.prefix_cache.read(self.backend, [self.vocabulary.eos_id, *ids])
        unknown = unknown_words(words, self.vocabulary)
        return ActiveSequence(self.vocabulary, ids, sampling, max_words, banned, read.logits, read.state, unknown)

    def stream(self, prompt: str, sampling: SamplingConfig, max_words: int) -> Iterator[str]:
        """Go on from a text, word by word: :meth:`start_generation`, and one step of the network a word.

        Returns:
            Words as the vocabulary spells them, ``<eos>`` among them; with ``stop_eos`` the first ``<eos>`` ends the
            stream and is not given.
        """
        return self._words(self.start_generation(prompt, sampling, max_words))

    def generate(self, prompt: str, sampling: SamplingConfig, max_words: int) -> GenerationResult:
        """Go on from a text and write the result as text.

        Args:
            prompt: The text so far, as typed; stays so in the result.
            sampling: How words are chosen; without a seed one is drawn and reported.
            max_words: Most words to give, ``<eos>`` counted as one.

        Raises:
            ConfigError: As :meth:`start_generation`.
        """
        sampling = with_seed(sampling)
        text = self.start_generation(prompt, sampling, max_words)
        words = tuple(self._words(text))
        return GenerationResult(
            prompt + detokenize_continuation(prompt, words), words, text.unknown_words, sampling.seed
        )

    def resolve_sampling(self, preset: str | None = None, **changes: Any) -> SamplingConfig:
        """A preset, with changes.

        Args:
            preset: Its name; ``None`` is the default preset.
            changes: Fields of ``SamplingConfig``; ``None`` leaves the preset's value.

        Raises:
            ConfigError: If there is no such preset, or the result has a problem.
        """
        name = self.default_preset if preset is None else preset
        if name not in self.presets:
            raise ConfigError([f"preset: unknown (got {name!r}); use one of {', '.join(self.presets)}"])
        given = {field: value for field, value in changes.items() if value is not None}
        sampling = replace(self.presets[name], **given)
        if problems := sampling.problems():
            raise ConfigError(problems)
        return sampling

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Words of ``text`` that the model never saw and reads as ``<unk>``: each once, as typed."""
        return unknown_words(tokenize_input(text, self.vocabulary), self.vocabulary)

    def _words(self, text: ActiveSequence) -> Iterator[str]:
        while (word := text.next_word()) is not None:
            yield word
            if not text.finished:
                step_batch(self.backend, [text])

    def _banned_ids(self, sampling: SamplingConfig) -> list[int]:
        banned = set(require_ids(sampling.ban_tokens, self.vocabulary, "ban_tokens"))
        if sampling.ban_unk:
            banned.add(self.vocabulary.unk_id)
        if len(banned) == len(self.vocabulary):
            raise ConfigError(["ban_tokens: every word of the vocabulary is banned; leave at least one"])
        return sorted(banned)
