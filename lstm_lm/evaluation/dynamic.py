"""Dynamic evaluation: the weights are updated after each scored segment of the split.

Krause, Kahembwe, Murray and Renals 2018, "Dynamic Evaluation of Neural Sequence Models", §4-5, with gradients divided
by their RMS and a decay towards the trained weights theta_g:

    theta <- theta - lr g / (RMS + epsilon) + decay * RMSnorm (theta_g - theta)

RMS is the root of the mean square of every weight's gradient over segments of train, RMSnorm is RMS divided by its mean
over all weights, clipped so that decay * RMSnorm is at most 1. The cache, if used, holds the features of the updated
weights. A word is scored before the weights learn from it. Unlike the paper's, an update of the embedding and of the
output layer skips the words that hardly matter (``MIN_COUNT``), and these two decay once in several segments.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lstm_lm.data.encoding import Ids
from lstm_lm.data.streams import inputs_and_targets
from lstm_lm.errors import DataError, EvaluationError
from lstm_lm.evaluation.autograd_network import AutogradNetwork
from lstm_lm.evaluation.cache import NeuralCache
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import device_windows
from lstm_lm.evaluation.intervals import bootstrap
from lstm_lm.evaluation.manual_lstm import Gradient, ManualGradLSTM, ScoredSegment
from lstm_lm.evaluation.progress import ProgressCallback
from lstm_lm.evaluation.score import Score, ScoreMetric, target_rank
from lstm_lm.nn.cells.lstm import LSTM
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary

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


def _min_count(model: LSTMLanguageModel) -> float:
    # a GPU updates all rows in less time than it takes to wait for the words
    return MIN_COUNT if model.device.type == "cpu" else 0.0


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
    length = min(config.window_length, len(train_ids))
    if not length:
        raise DataError("train is empty; dynamic evaluation measures the RMS of the gradients on it")
    network = _network(model, length)
    squares = [torch.zeros_like(weight) for weight in network.weights]
    starts = np.linspace(0, len(train_ids) - length, config.gradient_windows).astype(np.int64)
    for done, start in enumerate(starts, start=1):
        # the state is that of an earlier segment; its influence fades quickly, as at the start of an article
        segment = inputs_and_targets(train_ids, np.arange(start, start + length), eos_id)
        scored = network.forward(*(part.to(model.device) for part in segment))
        gradients = network.backward(scored, _min_count(model))
        for square, gradient in zip(squares, gradients, strict=True):
            gradient.add_to(square, gradient.values)
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
        epsilon = EPSILON * rms.mean
        self._lr_scales = [1.0 / (value + epsilon) for value in rms.per_weight]
        self._decay_rates = [torch.empty_like(scale) for scale in self._lr_scales]

    def score_segments(self, ids: Ids, eos_id: int, lr: float, decay: float) -> Iterator[ScoredSegment]:
        """Score a stream, starting from the trained weights.

        Args:
            ids: The stream (N,).
            eos_id: The token before the first.
            lr: Learning rate.
            decay: Decay towards the trained weights.

        Yields:
            Each scored segment; the weights are updated when the next one is requested.

        Raises:
            DataError: If the stream is empty.
        """
        self._network.reset_state()
        for weight, trained in zip(self._network.weights, self._trained, strict=True):
            weight.copy_(trained)
        for index, (rate, value) in enumerate(zip(self._decay_rates, self._rms.per_weight, strict=True)):
            torch.mul(value, decay / self._rms.mean, out=rate).clamp_(max=1.0)
            if index in self._network.word_matrices:  # that of DECAY_SEGMENTS segments
                rate.copy_(1.0 - (1.0 - rate) ** DECAY_SEGMENTS)
        windows = device_windows(self._model, ids, 1, self._window_length, eos_id)
        for number, window in enumerate(windows, start=1):
            segment = self._network.forward(window.input_ids[0], window.target_ids[0])
            yield segment
            if lr or decay:
                gradients = self._network.backward(segment, _min_count(self._model))
                self._update(gradients, lr, decays_words=number % DECAY_SEGMENTS == 0)

    def _update(self, gradients: Sequence[Gradient], lr: float, decays_words: bool) -> None:
        """Update the weights in place."""
        network = self._network
        for index, gradient in enumerate(gradients):
            weight, scale = network.weights[index], self._lr_scales[index]
            if decays_words or index not in network.word_matrices:
                weight.lerp_(self._trained[index], self._decay_rates[index])
            gradient.add_to(weight, scale[gradient.rows], -lr)


def evaluate_dynamic(
    model: LSTMLanguageModel,
    ids: Ids,
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    rms: GradientRMS,
    progress: ProgressCallback | None = None,
) -> Score:
    """Score every token of a split with dynamic evaluation and the exact softmax, in float32.

    Args:
        model: The trained network. Not modified.
        ids: The split (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Segment length.
        settings: ``lr`` and ``decay``; to add the cache, also ``cache_window``, ``cache_theta`` and ``cache_weight``.
        rms: From :func:`gradient_rms`.
        progress: Called after each segment with the tokens done and the total.

    Raises:
        DataError: If the split is empty.
        EvaluationError: If the weights diverge.
    """
    cache = NeuralCache.from_settings(settings) if settings.get("cache_weight") else None
    evaluator = DynamicEvaluator(model, rms, config.window_length)
    metric, nlls, done = ScoreMetric(vocabulary).to(model.device), [], 0
    for segment in evaluator.score_segments(ids, vocabulary.eos_id, settings["lr"], settings["decay"]):
        nll, rank = segment.nll, segment.rank
        if cache is not None:
            mixture, nll = cache.interpolate(segment.log_probabilities, segment.features, segment.target_ids)
            rank = target_rank(mixture, segment.target_ids)
        metric.update(nll, rank, segment.target_ids)
        nlls.append(nll.double().cpu().numpy())
        done += len(nll)
        if not np.isfinite(nlls[-1]).all():
            raise EvaluationError(
                f"the weights diverged after {done:,} of {len(ids):,} tokens; lower evaluation.lr (got "
                f"{settings['lr']:g}), or set tune=true"
            )
        if progress is not None:
            progress(done, len(ids))
    return metric.score(bootstrap(np.concatenate(nlls), ids, vocabulary))
