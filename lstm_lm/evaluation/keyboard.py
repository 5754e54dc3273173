"""What the model is worth to somebody who types: keystrokes that three suggestions save.

A split is typed word by word. Three suggestions are shown all the time: the most probable words before a letter is
typed, then the most probable ones that begin with the letters typed so far. The writer takes the word as soon as it is
shown, which costs one keystroke and types the space after it too; a word that is never shown costs its letters and a
space. The keystroke savings rate compares this with typing every letter and space::

    KSR = 1 - keystrokes with suggestions / keystrokes without

This is the keystroke savings of Trnka and McCoy 2008, "Evaluating Word Prediction: Framing Keystroke Savings" (ACL,
short papers), with a writer who misses no suggestion: a person saves less. What is shown is what
``Engine.predict(text, 3, prefix, words_only=True)`` gives: letters in the case of the word that is typed, capitals at
the start of a sentence, "The" and "the" as one where they read the same. The word counts as shown only in its own case.

Only real words are counted, neither punctuation nor ``<eos>`` nor ``<unk>``, whose letters the corpus hides; what is
left out is read, though, and a text with many unknown words would save less. Every word counts with one space, also
where none is written (before "'s", or between the parts of "1,000" and "well-known").
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.streams import EvalWindows
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import eval_mode, window_features
from lstm_lm.evaluation.score import word_mask
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.casing import sentence_starts
from lstm_lm.text.completion import Candidates, WordIndex, surface_form
from lstm_lm.text.vocabulary import Vocabulary

SHOWN = 3  # what a phone's bar has room for
_REMEMBERED = 1 << 14  # tables of words by beginning; there are about 8,000 beginnings of up to three letters


@dataclass(frozen=True)
class WordScore:
    """The real words of a split, before a letter of them is typed.

    Attributes:
        tokens: Their number.
        top1: Share in [0, 1] that is the first suggestion.
        top3: Share that is among the three suggestions.
    """

    tokens: int
    top1: float
    top3: float


@dataclass(frozen=True)
class KeyboardScore:
    """What suggestions save on a split.

    Attributes:
        tokens: Tokens read: every word and one ``<eos>`` a line.
        keystroke_savings_rate: Share of the keystrokes that is saved, below 1.
        keystrokes: Without suggestions: letters, and a space a word.
        keystrokes_with_suggestions: With them.
        taken: Share of the words that were taken from the suggestions rather than typed to the end.
        words: The real words, which alone are counted.
    """

    tokens: int
    keystroke_savings_rate: float
    keystrokes: int
    keystrokes_with_suggestions: int
    taken: float
    words: WordScore

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``metrics.json``."""
        return asdict(self)


@dataclass(frozen=True)
class TypedWord:
    """One word, typed.

    Attributes:
        length: Its letters.
        rank: Its place among the suggestions before the first letter, 0 is the best; ``None`` if it is not one.
        letters: Letters typed until it was shown; ``None`` if it never was.
    """

    length: int
    rank: int | None
    letters: int | None

    @property
    def keystrokes(self) -> int:
        """Letters, and one for taking the word or for the space."""
        return (self.length if self.letters is None else self.letters) + 1


class SuggestionBar:
    """The suggestions that are shown while a word is typed.

    Args:
        vocabulary: The model's words.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        index = WordIndex(vocabulary)

        @lru_cache(maxsize=_REMEMBERED)
        def shown(prefix: str, capital: bool) -> Candidates:
            return index.candidates(prefix, capital).only_words()

        self._shown = shown

    def typing(self, target_id: int, capital: bool, logits: NDArray[np.float32]) -> TypedWord:
        """Type a word until it is shown.

        Args:
            target_id: The word, a real one.
            capital: Whether a sentence begins with it.
            logits: The model's, of this word (V,).
        """
        word = surface_form(self._vocabulary.word(target_id))
        rank = suggestion_rank(word, self._shown("", capital), logits)
        if rank is not None and rank < SHOWN:
            return TypedWord(len(word), rank, 0)
        for letters in range(1, len(word)):
            further = suggestion_rank(word, self._shown(word[:letters], capital), logits)
            if further is not None and further < SHOWN:
                return TypedWord(len(word), rank, letters)
        return TypedWord(len(word), rank, None)


def suggestion_rank(word: str, candidates: Candidates, logits: NDArray[np.float32]) -> int | None:
    """How many other texts are at least as probable as ``word``; a tie counts against it.

    Args:
        word: A text.
        candidates: Texts that could be shown.
        logits: Of the whole vocabulary (V,).

    Returns:
        The rank, 0 is the most probable, alone; ``None`` where ``word`` is not offered.
    """
    position = candidates.positions.get(word)
    if position is None:
        return None
    weights: NDArray[np.floating] = logits[candidates.ids]
    # only where words are one text, and so add up, is there anything to be gained by going over to probabilities
    if len(candidates.texts) < len(candidates.ids):
        weights = candidates.probs(np.exp(weights - weights.max(), dtype=np.float64))
    return int(np.count_nonzero(weights >= weights[position])) - 1


def keyboard_score(typings: Iterable[TypedWord], tokens: int) -> KeyboardScore:
    """The score of words that were typed.

    Args:
        typings: The real words.
        tokens: All tokens that were read.
    """
    typings = list(typings)
    count = max(len(typings), 1)
    without = sum(typing.length + 1 for typing in typings)
    needed = sum(typing.keystrokes for typing in typings)
    top1, top3 = (sum(t.rank is not None and t.rank < k for t in typings) / count for k in (1, SHOWN))
    return KeyboardScore(
        tokens=tokens,
        keystroke_savings_rate=(without - needed) / max(without, 1),
        keystrokes=without,
        keystrokes_with_suggestions=needed,
        taken=sum(typing.letters is not None for typing in typings) / count,
        words=WordScore(len(typings), top1, top3),
    )


def evaluate_keyboard(
    model: LSTMLanguageModel,
    ids: NDArray[np.int32],
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    progress: Callable[[int, int], None] | None = None,
) -> KeyboardScore:
    """Type a split with three suggestions: one pass of the network, and a rank a keystroke.

    Args:
        model: The network; left in the mode it came in.
        ids: The split's stream of word ids (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Columns and window length; with ``batch_size=1`` the state is carried through the whole split.
        progress: Called after each window with the tokens done and the tokens in all.

    Raises:
        DataError: If the split is empty.
    """
    windows = EvalWindows(ids, config.batch_size, config.window_length, vocabulary.eos_id)
    starts = np.fromiter(sentence_starts(map(vocabulary.word, ids.tolist())), dtype=np.int32, count=len(ids))
    # the same windows over the flags: a window's targets say of each word whether it begins a sentence
    flags = EvalWindows(starts, config.batch_size, config.window_length, 0)
    bar, real = SuggestionBar(vocabulary), word_mask(vocabulary)
    typings: list[TypedWord] = []
    done = 0
    with eval_mode(model):
        for (window, features), flag in zip(window_features(model, windows), flags, strict=True):
            counted = real[window.target_ids] if window.mask is None else real[window.target_ids] & window.mask
            logits = model.logits(features[counted]).float().cpu().numpy()
            words, capitals = window.target_ids[counted].tolist(), flag.target_ids[counted].tolist()
            typings.extend(map(bar.typing, words, map(bool, capitals), logits))
            done += window.num_tokens
            if progress is not None:
                progress(done, len(ids))
    return keyboard_score(typings, len(ids))
