"""Texts that go on word by word, several of them in one step of the network."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lstm_lm.inference.backend import Backend, State, stack_states, unstack_state
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.sampling import sample_batch
from lstm_lm.text.vocabulary import Vocabulary


class ActiveSequence:
    """One text between two steps of the network.

    It chooses words and never runs the network itself: whoever holds it calls :func:`sample_next` and lets
    :func:`step_batch` read what was chosen, for this text alone or for many at once. The words are the same either
    way, but for the rounding of sums.

    Args:
        vocabulary: The network's words.
        ids: The words before, for the repetition penalty.
        sampling: How words are chosen, without problems.
        max_words: Most words to give, ``<eos>`` counted as one.
        banned_ids: Words that are never given.
        logits: Of the first word to choose, (V,).
        state: After the words before, batch size 1.
        unknown_words: Words before that the model never saw, as typed.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        ids: Sequence[int],
        sampling: SamplingConfig,
        max_words: int,
        banned_ids: Sequence[int],
        logits: NDArray[np.float32],
        state: State,
        unknown_words: tuple[str, ...],
    ) -> None:
        self.unknown_words = unknown_words
        self._vocabulary = vocabulary
        self._ids = list(ids)
        self._sampling = replace(sampling, seed=None)  # the generator has it
        self._rng = np.random.default_rng(sampling.seed)
        self._left = max_words
        self._banned_ids = list(banned_ids)
        self._logits = logits
        self._state = state
        self._needs_step = False

    @property
    def finished(self) -> bool:
        """Whether there are no more words to choose."""
        return self._left == 0

    @property
    def needs_step(self) -> bool:
        """Whether its last word has to be read before the next one can be chosen."""
        return self._needs_step

    def next_word(self) -> str | None:
        """The next word as the vocabulary spells it, ``<eos>`` among them; ``None`` at the end.

        With ``stop_eos`` the first ``<eos>`` is the end.
        """
        return sample_next([self])[0]

    def _same_sampling(self, other: "ActiveSequence") -> bool:
        return self._sampling == other._sampling and self._banned_ids == other._banned_ids

    def _recent_ids(self) -> Sequence[int]:
        window = self._sampling.repeat_window
        return self._ids[-window:] if window else ()

    def _append(self, chosen: int) -> str | None:
        if self._sampling.stop_eos and chosen == self._vocabulary.eos_id:
            self._left = 0
            return None
        self._left -= 1
        self._ids.append(chosen)
        self._needs_step = not self.finished
        return self._vocabulary.word(chosen)


def sample_next(texts: Sequence[ActiveSequence]) -> list[str | None]:
    """The next word of every sequence, as :meth:`ActiveSequence.next_word` gives it.

    Sequences with the same sampling options are sampled in one batch.

    Args:
        texts: None of them unread.
    """
    words: list[str | None] = [None] * len(texts)
    alike: list[list[int]] = []
    for position, text in enumerate(texts):
        assert not text.needs_step, "the last word has to be read first"
        if text.finished:
            continue
        group = next((group for group in alike if text._same_sampling(texts[group[0]])), [])
        if not group:
            alike.append(group)
        group.append(position)
    for group in alike:
        members = [texts[position] for position in group]
        chosen = sample_batch(
            [text._logits for text in members],
            members[0]._sampling,
            [text._rng for text in members],
            members[0]._banned_ids,
            [text._recent_ids() for text in members],
        )
        for position, index in zip(group, chosen, strict=True):
            words[position] = texts[position]._append(index)
    return words


def step_batch(backend: Backend, texts: Sequence[ActiveSequence]) -> None:
    """Read the last word of every text in one step.

    Args:
        backend: Runs the network.
        texts: At least one, all of them unread.
    """
    ids = np.array([[text._ids[-1]] for text in texts], dtype=np.int64)
    logits, state = backend.step(ids, stack_states([text._state for text in texts]))
    for text, row, own_state in zip(texts, logits, unstack_state(state, len(texts)), strict=True):
        text._logits, text._state, text._needs_step = row, own_state, False
