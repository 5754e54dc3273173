"""Sequences being generated, sampled and stepped in batches."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.backend import Backend, State, stack_states, unstack_state
from lstm_lm.inference.banned_words import BannedWords
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.logits import ban
from lstm_lm.inference.sampling import sample_batch
from lstm_lm.text.vocabulary import Vocabulary


class ActiveSequence:
    """One sequence being generated.

    It does not run the network: the caller alternates :func:`sample_next` and :func:`step_batch`, for one sequence or a
    batch. The words do not depend on the batch, up to rounding.

    Args:
        vocabulary: The network's vocabulary.
        ids: Tokens of the prompt, for the repetition penalty.
        sampling: Valid sampling options.
        max_words: Maximum number of words, ``<eos>`` included.
        banned: Words that are never generated.
        logits: Logits after the prompt (V,).
        state: State after the prompt, batch size 1.
        unknown_words: Out-of-vocabulary words of the prompt, as typed.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        ids: Sequence[int],
        sampling: SamplingConfig,
        max_words: int,
        banned: BannedWords,
        logits: NDArray[np.float32],
        state: State,
        unknown_words: tuple[str, ...],
    ) -> None:
        self.sampling = replace(sampling, seed=None)
        """The sampling options, without the seed, which is in ``rng``."""
        self.rng = np.random.default_rng(sampling.seed)
        self.banned = banned
        self.logits = logits
        """Logits of the next token (V,)."""
        self.state = state
        """State that ``logits`` were computed with, batch size 1."""
        self.unknown_words = unknown_words
        self._vocabulary = vocabulary
        self._ids = list(ids)
        self._remaining = max_words
        self._needs_step = False
        self._ended_line = False

    @property
    def finished(self) -> bool:
        """Whether generation has ended."""
        return self._remaining == 0

    @property
    def finish_reason(self) -> Literal["length", "end_of_line"]:
        """Why generation has ended, once it has: the maximum number of words, or ``stop_eos``."""
        return "end_of_line" if self._ended_line else "length"

    @property
    def needs_step(self) -> bool:
        """Whether :func:`step_batch` has to process the last token before the next one can be sampled."""
        return self._needs_step

    @property
    def last_id(self) -> int:
        """The last token of the prompt or the generated text."""
        return self._ids[-1]

    @property
    def recent_ids(self) -> Sequence[int]:
        """Tokens in the window of the repetition penalty."""
        window = self.sampling.repeat_window
        return self._ids[-window:] if window else ()

    def allowed_logits(self) -> NDArray[np.floating]:
        """``logits`` without the tokens that would complete a banned word of several tokens (V,)."""
        completing = self.banned.after(self._ids)
        return ban(self.logits, completing) if completing else self.logits

    def same_sampling(self, other: "ActiveSequence") -> bool:
        """Whether both can be sampled in one batch."""
        return self.sampling == other.sampling and self.banned.ids == other.banned.ids

    def append(self, token_id: int) -> str | None:
        """Append a sampled token and return its word, or ``None`` if it ends the sequence."""
        if self.sampling.stop_eos and token_id == self._vocabulary.eos_id:
            self._remaining, self._ended_line = 0, True
            return None
        self._remaining -= 1
        self._ids.append(token_id)
        self._needs_step = not self.finished
        return self._vocabulary.word(token_id)

    def advance(self, logits: NDArray[np.float32], state: State) -> None:
        """Store the network's output for the last token.

        Args:
            logits: Logits after it (V,).
            state: State after it, batch size 1.
        """
        self.logits, self.state, self._needs_step = logits, state, False


def sample_next(sequences: Sequence[ActiveSequence]) -> list[str | None]:
    """Sample and append the next word of every sequence.

    Sequences with the same sampling options are sampled in one batch.

    Args:
        sequences: None of them needs a step.

    Returns:
        The words in the vocabulary's spelling, ``<eos>`` included; ``None`` for a finished sequence. With ``stop_eos``
        the first ``<eos>`` finishes it.
    """
    words: list[str | None] = [None] * len(sequences)
    groups: list[list[int]] = []
    for index, sequence in enumerate(sequences):
        assert not sequence.needs_step, "call step_batch first"
        if sequence.finished:
            continue
        group = next((group for group in groups if sequence.same_sampling(sequences[group[0]])), [])
        if not group:
            groups.append(group)
        group.append(index)
    for group in groups:
        batch = [sequences[index] for index in group]
        sampled = sample_batch(
            [sequence.allowed_logits() for sequence in batch],
            batch[0].sampling,
            [sequence.rng for sequence in batch],
            batch[0].banned.ids,
            [sequence.recent_ids for sequence in batch],
        )
        for index, token_id in zip(group, sampled, strict=True):
            words[index] = sequences[index].append(token_id)
    return words


def step_batch(backend: Backend, sequences: Sequence[ActiveSequence]) -> None:
    """Process the last token of every sequence in one step.

    Args:
        backend: Runs the network.
        sequences: At least one; all of them need a step.
    """
    ids = np.array([[sequence.last_id] for sequence in sequences], dtype=np.int64)
    logits, state = backend.step(ids, stack_states([sequence.state for sequence in sequences]))
    for sequence, row, own_state in zip(sequences, logits, unstack_state(state, len(sequences)), strict=True):
        sequence.advance(row, own_state)
