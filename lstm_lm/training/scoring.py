"""Scores a split window by window, with the definition of ``lstm-lm eval``."""

from collections.abc import Sized
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lstm_lm.data.streams import EvalWindows, Window
from lstm_lm.evaluation.score import Score, ScoreMetric, WindowScores, join_windows
from lstm_lm.evaluation.token_scores import TokenScores
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState
from lstm_lm.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class SplitScore:
    """The score of a split, or of its first windows."""

    score: Score
    sums: list[tuple[float, int]]
    """Cumulative negative log likelihood and token count after each window."""
    is_exact: bool
    """Whether all windows were scored."""


class SplitScorer(nn.Module):
    """Accumulates the score of a split: exact softmax in float32, every token, the state carried between windows.

    Args:
        vocabulary: The model's vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.metric = ScoreMetric(vocabulary)
        self._state: LSTMState | None = None
        self._sums: list[tuple[Tensor, Tensor]] = []
        self._windows: list[WindowScores] = []

    def reset(self) -> None:
        """Start with the first window of a split."""
        self.metric.reset()
        self._state = None
        self._sums = []
        self._windows = []

    def add(self, model: LSTMLanguageModel, window: Window) -> None:
        """Score the next window; call it without gradients."""
        state = self._state
        if window.starts_stream or state is None:
            state = model.initial_state(window.input_ids.shape[0])
        with torch.autocast(window.input_ids.device.type, enabled=False):
            features, self._state = model.features(window.input_ids, state)
            self._windows.append(self.metric.update_window(model, features, window))
        self._sums.append((self.metric.nll.clone(), self.metric.counts[0, 0].clone()))

    def result(self, windows: Sized | None) -> SplitScore:
        """The score since the last reset.

        Args:
            windows: All windows of the split.
        """
        nlls, tokens = (torch.stack(sums).tolist() for sums in zip(*self._sums, strict=True))
        is_exact = windows is not None and len(nlls) == len(windows)
        return SplitScore(self.metric.score(), list(zip(nlls, tokens, strict=True)), is_exact)

    def tokens(self, windows: EvalWindows) -> TokenScores:
        """The score of each token since the last reset.

        Args:
            windows: All windows of the split.
        """
        return join_windows(self._windows, windows.ids, windows.stream_length, self.vocabulary)
