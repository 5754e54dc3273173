"""Dynamic evaluation: the weights are updated after each scored segment of the split.

Krause, Kahembwe, Murray and Renals 2018, "Dynamic Evaluation of Neural Sequence Models", §4-5, with gradients divided
by their RMS and a decay towards the trained weights theta_g:

    theta <- theta - lr g / (RMS + epsilon) + decay * RMSnorm (theta_g - theta)

RMS is the root of the mean square of every weight's gradient over segments of train, RMSnorm is RMS divided by its mean
over all weights, clipped so that decay * RMSnorm is at most 1. The cache, if used, holds the features of the updated
weights. A word is scored before the weights learn from it. Unlike in the paper, on a CPU an update of the embedding and
of the output layer skips the words that hardly matter (``MIN_COUNT``), and these two decay once in several segments.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lstm_lm.data.encoding import Ids
from lstm_lm.data.streams import inputs_and_targets
from lstm_lm.errors import DataError
from lstm_lm.evaluation.autograd_network import AutogradNetwork
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import ScoredWords, device_windows
from lstm_lm.evaluation.graphs import Step, graphed
from lstm_lm.evaluation.manual_lstm import ManualGradLSTM
from lstm_lm.evaluation.progress import ProgressCallback
from lstm_lm.evaluation.score import chunk_length
from lstm_lm.nn.cells.lstm import LSTM
from lstm_lm.nn.model import LSTMLanguageModel

# The matrices with a row for each word have most of the weights, and a segment hardly changes most of their rows. So an
# update changes the words of the segment and those that the network expected there so many times, and the decay of
# several segments is applied at once. The perplexity stays the same: docs/results.md has the figures.
MIN_COUNT = 0.001
DECAY_SEGMENTS = 16
EPSILON = 4.0  # times the mean RMS: limits updates of weights with small gradients, mostly those of rare words


@dataclass(frozen=True)
class GradientRMS:
    """Root mean square of the gradients of a trained network."""

    per_weight: list[Tensor]
    """RMS of the gradient of a segment's mean loss, over segments of train; one tensor per weight tensor."""
    mean: float
    """Mean over all weights."""


def _network(model: LSTMLanguageModel, window_length: int) -> ManualGradLSTM | AutogradNetwork:
    # on a GPU, one kernel of cuDNN is faster than a few for each step
    by_hand = model.cell is LSTM and model.device.type == "cpu"
    return ManualGradLSTM(model, window_length) if by_hand else AutogradNetwork(model)


def _update_limits(model: LSTMLanguageModel) -> tuple[float, int]:
    """``MIN_COUNT`` and ``DECAY_SEGMENTS`` for the device of a network."""
    # a CUDA graph needs shapes that do not change, and a GPU updates all rows quickly
    return (MIN_COUNT, DECAY_SEGMENTS) if model.device.type == "cpu" else (0.0, 1)


def _fastest(step: Step, model: LSTMLanguageModel, window_length: int) -> Step:
    # only LSTM was tested with CUDA graphs, as in training
    return graphed(step, window_length, model.device) if model.cell is LSTM else step


def gradient_rms(
    model: LSTMLanguageModel,
    train_ids: Ids,
    eos_id: int,
    config: EvaluationConfig,
    progress: ProgressCallback | None = None,
) -> GradientRMS:
    """Measure the gradients on segments spaced evenly over train.

    Args:
        model: The network. Not modified.
        train_ids: The train split (N,).
        eos_id: Id of ``<eos>``.
        config: Number of segments and their length.
        progress: Called after each segment with the segments done and the total.

    Raises:
        DataError: If train is empty.
    """
    length = min(config.words_per_window, len(train_ids))
    if not length:
        raise DataError("train is empty; dynamic evaluation measures the RMS of the gradients on it")
    network = _network(model, length)
    min_count, _ = _update_limits(model)
    squares = [torch.zeros_like(weight) for weight in network.weights]

    def measure(input_ids: Tensor, target_ids: Tensor) -> ScoredWords:
        segment = network.forward(input_ids, target_ids)
        for square, gradient in zip(squares, network.backward(min_count), strict=True):
            gradient.add_to(square, gradient.values)
        return segment

    step = _fastest(measure, model, length)
    network.reset_state()
    for square in squares:
        square.zero_()
    starts = np.linspace(0, len(train_ids) - length, config.gradient_windows).astype(np.int64)
    for done, start in enumerate(starts, start=1):
        # the state is that of an earlier segment; its influence fades quickly, as at the start of an article
        segment = inputs_and_targets(train_ids, np.arange(start, start + length), eos_id)
        step(*(part.to(model.device) for part in segment))
        if progress is not None:
            progress(done, len(starts))
    total, count = 0.0, 0
    for square in squares:
        square.div_(len(starts)).sqrt_()
        total, count = total + float(square.sum(dtype=torch.float64)), count + square.numel()
    return GradientRMS(squares, total / count)


class DynamicEvaluator:
    """Scores a stream with a copy of a network and updates the copy after each segment.

    Args:
        model: The trained network. Not modified.
        rms: Its gradient RMS.
        window_length: Maximum number of words in a segment.
    """

    def __init__(self, model: LSTMLanguageModel, rms: GradientRMS, window_length: int) -> None:
        self._model = model
        self._trained = [parameter.detach() for parameter in model.parameters()]
        self._network = _network(model, window_length)
        self._rms = rms
        self._window_length = window_length
        self._min_count, self._decay_segments = _update_limits(model)
        self._learning_rates = [torch.zeros_like(value) for value in rms.per_weight]
        self._decay_rates = [torch.zeros_like(value) for value in rms.per_weight]
        self._num_segments = 0
        self.words_per_chunk = window_length * max(1, chunk_length(model.device) // window_length)
        """Length of a chunk of whole segments."""

    def score_stream(self, ids: Ids, eos_id: int, lr: float, decay: float) -> Iterator[ScoredWords]:
        """Score a stream, starting from the trained weights; each segment before the weights learn from it.

        Args:
            ids: The stream (N,).
            eos_id: The token before the first.
            lr: Learning rate.
            decay: Decay towards the trained weights.

        Yields:
            Chunks of ``words_per_chunk`` words; the last may be shorter.

        Raises:
            DataError: If the stream is empty.
        """
        windows = device_windows(self._model, ids, 1, self._window_length, eos_id)
        step: Step = self._network.forward
        if lr or decay:
            step = _fastest(self._score_and_update, self._model, self._window_length)
        self._reset(lr, decay)
        segments, length = list[ScoredWords](), 0
        for window in windows:
            segment = step(window.input_ids[0], window.target_ids[0])
            # the next segment overwrites this one
            kept = segment.features.clone(), segment.log_probabilities.clone()
            segments.append(ScoredWords(*kept, window.target_ids[0]))
            length += window.num_tokens
            if length >= self.words_per_chunk:
                chunk, segments, length = _joined(segments), [], 0
                yield chunk
        if segments:
            yield _joined(segments)

    def _reset(self, lr: float, decay: float) -> None:
        """Start a new stream from the trained weights."""
        self._network.reset_state()
        self._num_segments = 0
        epsilon = EPSILON * self._rms.mean
        for index, value in enumerate(self._rms.per_weight):
            self._network.weights[index].copy_(self._trained[index])
            torch.div(lr, value + epsilon, out=self._learning_rates[index])
            rate = torch.mul(value, decay / self._rms.mean, out=self._decay_rates[index]).clamp_(max=1.0)
            if index in self._network.word_matrices:  # that of several segments
                rate.copy_(1.0 - (1.0 - rate) ** self._decay_segments)

    def _score_and_update(self, input_ids: Tensor, target_ids: Tensor) -> ScoredWords:
        """Score a segment, then update the weights in place."""
        network = self._network
        segment = network.forward(input_ids, target_ids)
        self._num_segments += 1
        decays_words = self._num_segments % self._decay_segments == 0
        for index, gradient in enumerate(network.backward(self._min_count)):
            weight = network.weights[index]
            if decays_words or index not in network.word_matrices:
                weight.lerp_(self._trained[index], self._decay_rates[index])
            gradient.add_to(weight, self._learning_rates[index][gradient.rows], -1.0)
        return segment


def _joined(segments: Sequence[ScoredWords]) -> ScoredWords:
    return ScoredWords(
        torch.cat([segment.features for segment in segments]),
        torch.cat([segment.log_probabilities for segment in segments]),
        torch.cat([segment.target_ids for segment in segments]),
    )
