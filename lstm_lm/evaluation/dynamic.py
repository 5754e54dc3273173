"""Dynamic evaluation: the weights learn from every segment of the split once it is scored.

Krause, Kahembwe, Murray and Renals 2018, "Dynamic Evaluation of Neural Sequence Models", §4-5, with gradients divided
by their usual size and a decay back to the trained weights theta_g:

    theta <- theta - lr g / (RMS + epsilon) + decay * RMSnorm (theta_g - theta)

RMS is the root of the mean square of every weight's gradient over segments of train, RMSnorm is RMS divided by its mean
over all weights, clipped so that decay * RMSnorm is at most 1. With the cache, the features of the moving weights are
looked back on. A word is scored before anything learns from it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.data.streams import EvalWindows, inputs_and_targets
from lstm_lm.errors import DataError, EvaluationError
from lstm_lm.evaluation.cache import NeuralCache
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.intervals import bootstrap
from lstm_lm.evaluation.manual_lstm import ManualGradLSTM, ScoredSegment
from lstm_lm.evaluation.score import Score, ScoreMetric, target_rank
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary

Ids = NDArray[np.int32]
Progress = Callable[[int, int], None]

EPSILON = 4.0  # of the mean of RMS: holds back weights that train hardly moved, most of all rare words


@dataclass(frozen=True)
class GradientRMS:
    """How large the gradients of a trained network are, weight by weight.

    Attributes:
        root_mean_squares: Of the gradient of a segment's mean loss, over segments of train; one tensor a weight.
        mean: Their mean over all weights.
    """

    root_mean_squares: list[Tensor]
    mean: float


def gradient_rms(
    model: LSTMLanguageModel, train_ids: Ids, eos_id: int, config: EvaluationConfig, progress: Progress | None = None
) -> GradientRMS:
    """Measure the gradients on segments that lie evenly over train, each as long as those to be scored.

    Args:
        model: The network; only read.
        train_ids: The stream of train (N,).
        eos_id: Id of ``<eos>``.
        config: Number of segments and their length.
        progress: Called after each segment with the segments done and those in all.

    Raises:
        DataError: If train is empty.
    """
    length = min(config.window_length, len(train_ids))
    if not length:
        raise DataError("train is empty; dynamic evaluation takes the usual size of the gradients from it")
    network = ManualGradLSTM(model, length)
    squares = [torch.zeros_like(weight) for weight in network.weights]
    starts = np.linspace(0, len(train_ids) - length, config.gradient_windows).astype(np.int64)
    for done, start in enumerate(starts, start=1):
        # the state goes on from an earlier place: it is soon forgotten, as at the beginning of an article
        network.backward(network.forward(*inputs_and_targets(train_ids, np.arange(start, start + length), eos_id)))
        for square, gradient in zip(squares, network.gradients, strict=True):
            square.addcmul_(gradient, gradient)
        if progress is not None:
            progress(done, len(starts))
    total, count = 0.0, 0
    for square in squares:
        square.div_(len(starts)).sqrt_()
        total, count = total + float(square.sum(dtype=torch.float64)), count + square.numel()
    return GradientRMS(squares, total / count)


class DynamicEvaluator:
    """A network that learns from the stream that it reads; ``model`` itself stays as it is.

    Args:
        model: The trained network.
        usual: Its usual gradients.
        window_length: Words of a segment.
    """

    def __init__(self, model: LSTMLanguageModel, usual: GradientRMS, window_length: int) -> None:
        self._trained = [parameter.detach() for parameter in model.parameters()]
        self._network = ManualGradLSTM(model, window_length)
        self._usual = usual
        self._window_length = window_length
        epsilon = EPSILON * usual.mean
        self._scales = [1.0 / (size + epsilon) for size in usual.root_mean_squares]
        self._returns = [torch.empty_like(size) for size in self._scales]

    def read(self, ids: Ids, eos_id: int, lr: float, decay: float) -> Iterator[ScoredSegment]:
        """Read a stream, beginning with the trained weights.

        Args:
            ids: The stream (N,).
            eos_id: The word before the first.
            lr: Learning rate.
            decay: Strength of the way back.

        Yields:
            Every segment as it is scored; the weights learn from it when the next one is asked for.

        Raises:
            DataError: If the stream is empty.
        """
        self._network.reset_state()
        for weight, trained in zip(self._network.weights, self._trained, strict=True):
            weight.copy_(trained)
        for share, size in zip(self._returns, self._usual.root_mean_squares, strict=True):
            torch.mul(size, decay / self._usual.mean, out=share).clamp_(max=1.0)
        for window in EvalWindows(ids, 1, self._window_length, eos_id):
            segment = self._network.forward(window.input_ids[0], window.target_ids[0])
            yield segment
            if lr or decay:
                self._network.backward(segment)
                self._update(lr)

    def _update(self, lr: float) -> None:
        """One step for every weight: each number is read once a line, and nothing is made on the way."""
        network = self._network
        for weight, trained, share, gradient, scale in zip(
            network.weights, self._trained, self._returns, network.gradients, self._scales, strict=True
        ):
            weight.lerp_(trained, share)
            weight.addcmul_(gradient, scale, value=-lr)


def evaluate_dynamic(
    model: LSTMLanguageModel,
    ids: Ids,
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    usual: GradientRMS,
    progress: Progress | None = None,
) -> Score:
    """Score every token of a split while the weights learn from it, with the exact softmax in float32.

    Args:
        model: The trained network; left as it came in, weights and mode.
        ids: The split's stream of word ids (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Words of a segment.
        settings: ``lr`` and ``decay``; with ``cache_window``, ``cache_theta`` and ``cache_weight`` the cache is mixed
            in.
        usual: From :func:`gradient_rms`.
        progress: Called after each segment with the tokens done and the tokens in all.

    Raises:
        DataError: If the split is empty.
        EvaluationError: If the weights diverge.
    """
    cache = NeuralCache.of(settings, model) if settings.get("cache_weight") else None
    network = DynamicEvaluator(model, usual, config.window_length)
    metric, nlls, done = ScoreMetric(vocabulary), [], 0
    for segment in network.read(ids, vocabulary.eos_id, settings["lr"], settings["decay"]):
        nll, rank = segment.nll, segment.rank
        if cache is not None:
            mixture, nll = cache.interpolate(segment.log_probabilities, segment.features, segment.target_ids)
            rank = target_rank(mixture, segment.target_ids)
        metric.update(nll, rank, segment.target_ids)
        nlls.append(nll.double().numpy())
        done += len(nll)
        if not np.isfinite(nlls[-1]).all():
            raise EvaluationError(
                f"the weights diverged after {done:,} of {len(ids):,} tokens; lower evaluation.lr (got "
                f"{settings['lr']:g}), or find settings with tune=true"
            )
        if progress is not None:
            progress(done, len(ids))
    return metric.score(bootstrap(np.concatenate(nlls), ids, vocabulary))
