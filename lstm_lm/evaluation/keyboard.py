"""Keystroke savings with three suggestions.

Simulates typing a split word by word. Three suggestions are always shown: the most probable words that start with the
letters typed so far. The user accepts the word as soon as it is shown, which costs one keystroke and also types the
space after it. A word that is never shown costs its letters and a space. The keystroke savings rate compares this with
typing every letter and space::

    KSR = 1 - keystrokes with suggestions / keystrokes without

This is the keystroke savings of Trnka and McCoy 2008, "Evaluating Word Prediction: Framing Keystroke Savings" (ACL,
short papers), for an ideal user who misses no suggestion: a real user saves less. The suggestions are those of
``Engine.predict(text, 3, prefix, words_only=True)``: in the typed case, capitalized at the start of a sentence, with
"The" and "the" merged if their surface form is the same, without the letters typed so far as a word of their own, and
before the first letter without endings such as "'s", which would take back the space.
A suggestion counts only if its case is right.

Only words are counted: no punctuation, no ``<eos>`` and no ``<unk>``, whose letters are not in the corpus. These tokens
are still part of the context; a text with many unknown words would save less. A contraction such as ``don 't`` is one
word. Every other word is counted with one space, even where the text has none (before the "'s" of a genitive, or
between the parts of "1,000" and "well-known").
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lstm_lm.data.encoding import Ids
from lstm_lm.data.streams import EvalWindows
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import device_windows, eval_mode, window_features
from lstm_lm.evaluation.progress import ProgressCallback
from lstm_lm.evaluation.score import chunk_length, word_mask
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.candidates import Candidates
from lstm_lm.text.casing import sentence_starts
from lstm_lm.text.completion import WordIndex, surface_form
from lstm_lm.text.contractions import ENDINGS, contractions
from lstm_lm.text.vocabulary import Vocabulary

NUM_SUGGESTIONS = 3  # as many as a phone's keyboard shows
_CACHE_SIZE = 1 << 14  # candidates by prefix; there are about 8,000 prefixes of up to three letters


@dataclass(frozen=True)
class WordScore:
    """Accuracy over the words of a split before their first letter is typed."""

    tokens: int
    """Number of words."""
    top1: float
    """Share of words in [0, 1] that are the first suggestion."""
    top3: float
    """Share of words that are among the three suggestions."""


@dataclass(frozen=True)
class KeyboardScore:
    """Keystroke savings on a split."""

    tokens: int
    """Number of tokens in the split: every word, and one ``<eos>`` per line."""
    keystroke_savings_rate: float
    """Share of the keystrokes that is saved, below 1."""
    keystrokes: int
    """Keystrokes without suggestions: letters, and one space per word."""
    keystrokes_with_suggestions: int
    """Keystrokes with suggestions."""
    taken: float
    """Share of the words that are accepted from the suggestions."""
    words: WordScore
    """Accuracy over the counted words."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``metrics.json``."""
        return asdict(self)


@dataclass(frozen=True)
class TypedWord:
    """The result of typing one word."""

    length: int
    """Number of letters."""
    rank: int | None
    """Rank among all candidates before the first letter, 0 is the best; ``None`` if it is not a candidate."""
    letters_typed: int | None
    """Letters typed before the word was suggested; ``None`` if it never was."""

    @property
    def keystrokes(self) -> int:
        """The letters, and one keystroke to accept the word or type the space."""
        return (self.length if self.letters_typed is None else self.letters_typed) + 1


class SuggestionBar:
    """Simulates the suggestions of a keyboard.

    Args:
        vocabulary: The model's vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        index = WordIndex(vocabulary)

        @lru_cache(maxsize=_CACHE_SIZE)
        def candidates(prefix: str, capital: bool) -> Candidates:
            # after a space no ending follows
            return index.candidates(prefix, capital).only_words(() if prefix else ENDINGS)

        self._candidates = candidates

    def type_word(self, word: str, capital: bool, logits: NDArray[np.float32]) -> TypedWord:
        """Type a word until it is suggested.

        Args:
            word: A word or contraction of the vocabulary in surface form; not ``<unk>``, ``<eos>`` or punctuation.
            capital: Whether it starts a sentence.
            logits: The model's logits for this position (V,).
        """
        rank = suggestion_rank(word, self._candidates("", capital), logits, "")
        if rank is not None and rank < NUM_SUGGESTIONS:
            return TypedWord(len(word), rank, 0)
        for letters in range(1, len(word)):
            prefix = word[:letters]
            prefix_rank = suggestion_rank(word, self._candidates(prefix, capital), logits, prefix)
            if prefix_rank is not None and prefix_rank < NUM_SUGGESTIONS:
                return TypedWord(len(word), rank, letters)
        return TypedWord(len(word), rank, None)


def suggestion_rank(word: str, candidates: Candidates, logits: NDArray[np.float32], typed: str) -> int | None:
    """The number of suggestions before ``word``; ties in probability count against it.

    Args:
        word: A word in surface form.
        candidates: Candidates that can be suggested.
        logits: Logits of the full vocabulary (V,).
        typed: The letters typed so far, which are suggested after every other word.

    Returns:
        The rank, 0 if ``word`` is the first suggestion; ``None`` if it is not suggested, or only in another case.
    """
    position = candidates.positions.get(word)
    if position is None:
        return None
    weights = logits[candidates.ids]
    probs = candidates.merge_cases(candidates.sums(np.exp(weights - weights.max(), dtype=np.float64)))
    if probs[position] == 0.0:
        return None
    before = probs >= probs[position]
    if (own := candidates.positions.get(typed)) is not None:
        before[own] = False
    rank = int(np.count_nonzero(before)) - 1
    if candidates.contraction is None:
        return rank
    # a contraction that is typed without its apostrophe has the last place, if its probability gives it none
    contractions = candidates.positions_ignoring_case[candidates.contraction]
    if position in contractions:
        return min(rank, NUM_SUGGESTIONS - 1)
    return rank + (rank == NUM_SUGGESTIONS - 1 and not before[contractions].any())


def written_words(ids: Ids, vocabulary: Vocabulary) -> tuple[list[str], NDArray[np.int32]]:
    """The words that are typed for the tokens of a split: contractions are one word.

    Args:
        ids: The split (N,).
        vocabulary: Its vocabulary.

    Returns:
        Texts, and for each token the index of its text; -1 for the second token of a contraction and for tokens that
        are not typed (N,).
    """
    joined = contractions(vocabulary)
    texts = [surface_form(word) for word in vocabulary.words] + [contraction.text for contraction in joined]
    written = np.where(word_mask(vocabulary).numpy()[ids], ids, -1).astype(np.int32)
    first = np.asarray(ids)
    for index, contraction in enumerate(joined, start=len(vocabulary)):
        starts = np.flatnonzero((first[:-1] == contraction.first_id) & (first[1:] == contraction.second_id))
        written[starts], written[starts + 1] = index, -1
    return texts, written


def keyboard_score(words: Iterable[TypedWord], tokens: int) -> KeyboardScore:
    """Aggregate typed words.

    Args:
        words: The counted words.
        tokens: Number of tokens in the split.
    """
    words = list(words)
    count = max(len(words), 1)
    without = sum(word.length + 1 for word in words)
    with_suggestions = sum(word.keystrokes for word in words)
    top1, top3 = (sum(w.rank is not None and w.rank < k for w in words) / count for k in (1, NUM_SUGGESTIONS))
    return KeyboardScore(
        tokens=tokens,
        keystroke_savings_rate=(without - with_suggestions) / max(without, 1),
        keystrokes=without,
        keystrokes_with_suggestions=with_suggestions,
        taken=sum(word.letters_typed is not None for word in words) / count,
        words=WordScore(len(words), top1, top3),
    )


def evaluate_keyboard(
    model: LSTMLanguageModel,
    ids: Ids,
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    progress: ProgressCallback | None = None,
) -> KeyboardScore:
    """Type a split with three suggestions.

    Args:
        model: The network. Its mode is restored.
        ids: The split (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Batch size and window length; with ``batch_size=1`` the state is carried through the whole split.
        progress: Called after each window with the tokens done and the total.

    Raises:
        DataError: If the split is empty.
    """
    windows = device_windows(model, ids, config.batch_size, config.words_per_window, vocabulary.eos_id)
    starts = np.fromiter(sentence_starts(map(vocabulary.word, ids.tolist())), dtype=np.int32, count=len(ids))
    # windows over the flags, aligned with those over the tokens
    start_windows = EvalWindows(starts, config.batch_size, config.words_per_window, 0)
    texts, written = written_words(ids, vocabulary)
    written_windows = EvalWindows(written, config.batch_size, config.words_per_window, -1)
    bar, rows = SuggestionBar(vocabulary), chunk_length(model.device)
    typed: list[TypedWord] = []
    done = 0
    with eval_mode(model):
        for (window, features), start_window, written_window in zip(
            window_features(model, windows), start_windows, written_windows, strict=True
        ):
            counted = written_window.target_ids >= 0
            if window.mask is not None:
                counted &= window.mask.cpu()
            words = [texts[index] for index in written_window.target_ids[counted].tolist()]
            capitals = map(bool, start_window.target_ids[counted].tolist())
            parts = torch.split(features[counted], rows)
            logits = chain.from_iterable(model.logits(part).float().cpu().numpy() for part in parts)
            typed.extend(map(bar.type_word, words, capitals, logits))
            done += window.num_tokens
            if progress is not None:
                progress(done, len(ids))
    return keyboard_score(typed, len(ids))
