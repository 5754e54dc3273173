"""Evaluation with the neural cache: recent words become more likely where the context is similar.

Grave, Joulin and Usunier 2017, "Improving Neural Language Models with a Continuous Cache", §3. The features h_i before
each word x_i of the split are kept, and

    p_cache(w) ~ sum over i in the last `window` of [w = x_i] exp(theta h_t . h_i)
    p(w) = (1 - lambda) p_model(w) + lambda p_cache(w)

with h_t the features before the scored word, so the cache contains only earlier words. The first word of a split has
an empty cache and the model's probability. The cache of a request is separate (``inference.neural_cache``): it contains
out-of-vocabulary words, and scores one position at a time.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.data.encoding import Ids
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import eval_mode, stream_features
from lstm_lm.evaluation.intervals import bootstrap
from lstm_lm.evaluation.progress import ProgressCallback
from lstm_lm.evaluation.score import Score, ScoreMetric, chunks, target_rank
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary


class NeuralCache:
    """The last words of a stream, each with the features before it.

    Memory: ``window`` features, plus n x (window + n) weights while a block of n words is scored.

    Args:
        window: Number of words in the cache; 0 is all.
        theta: Sharpness.
        weight: Weight of the cache in the mixture, lambda.
    """

    def __init__(self, window: int, theta: float, weight: float) -> None:
        self.window = window
        self.theta = theta
        self.weight = weight
        self._features: Tensor | None = None
        self._words: Tensor | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, float]) -> "NeuralCache":
        """An empty cache with ``cache_window``, ``cache_theta`` and ``cache_weight``."""
        window, theta, weight = (settings[f"cache_{name}"] for name in ("window", "theta", "weight"))
        return cls(int(window), theta, weight)

    def interpolate(self, log_probabilities: Tensor, features: Tensor, target_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the cache into the model's distributions over a block of words, then add the block to the cache.

        The cache of each word includes the earlier words of the block.

        Args:
            log_probabilities: The model's (n, V). Overwritten.
            features: Features before every word (n, H).
            target_ids: The words (n,).

        Returns:
            Probabilities of the mixture (n, V), in the memory of ``log_probabilities``; and the targets' negative log
            likelihood (n,), which stays finite where a probability underflows float32.
        """
        weights, words, _ = self.attend(features, target_ids)
        shares = features.new_full((len(features), 1), self.weight)
        if len(words) == len(features):  # the cache of the first word is empty
            shares[0] = 0.0
        target_mass = (weights * (words == target_ids.unsqueeze(1))).sum(dim=1)
        nll = -torch.logaddexp(
            torch.log1p(-shares[:, 0]) + log_probabilities.gather(1, target_ids.unsqueeze(1)).squeeze(1),
            shares[:, 0].log() + target_mass.log(),
        )
        mixture = log_probabilities.exp_().mul_(1.0 - shares)
        mixture.scatter_add_(1, words.expand(len(features), -1), weights.mul_(shares))
        return mixture, nll

    def attend(self, features: Tensor, target_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the attention of each word of a block over earlier positions, and add the block to the cache.

        Args:
            features: Features before every word (n, H).
            target_ids: The words (n,).

        Returns:
            Weights (n, m + n) over the m cached positions and those of the block, 0 outside the window; the words at
            these positions (m + n,); and the logarithms of the weights before normalization, -inf outside the window.
            With an empty cache the first row is meaningless.
        """
        keys = features if self._features is None else torch.cat([self._features, features])
        words = target_ids if self._words is None else torch.cat([self._words, target_ids])
        num_cached = len(words) - len(target_ids)
        scores = (features * self.theta) @ keys.t()
        position = torch.arange(len(words), device=words.device)
        current = position[num_cached:].unsqueeze(1)
        masked = position >= current
        if self.window:
            masked |= position < current - self.window
            self._features, self._words = keys[-self.window :], words[-self.window :]
        else:
            self._features, self._words = keys, words
        scores.masked_fill_(masked, -torch.inf)
        if num_cached == 0:
            scores[0, 0] = 0.0  # prevents NaN from a softmax of only -inf; the share of this row is 0
        return torch.softmax(scores, dim=1), words, scores


def evaluate_cache(
    model: LSTMLanguageModel,
    ids: Ids,
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    progress: ProgressCallback | None = None,
) -> Score:
    """Score every token of a split with the exact mixture of model and neural cache, in float32.

    Args:
        model: The network. Its mode is restored.
        ids: The split (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Window length.
        settings: ``cache_window``, ``cache_theta`` and ``cache_weight``.
        progress: Called after each window with the tokens done and the total.

    Raises:
        DataError: If the split is empty.
    """
    cache = NeuralCache.from_settings(settings)
    metric, nlls, done = ScoreMetric(vocabulary).to(model.device), [], 0
    with eval_mode(model):
        for features, target_ids in stream_features(model, ids, config.window_length, vocabulary.eos_id):
            for part, targets in chunks(features, target_ids):
                mixture, nll = cache.interpolate(F.log_softmax(model.logits(part), dim=1), part, targets)
                metric.update(nll, target_rank(mixture, targets), targets)
                nlls.append(nll.double().cpu().numpy())
            done += len(target_ids)
            if progress is not None:
                progress(done, len(ids))
    return metric.score(bootstrap(np.concatenate(nlls), ids, vocabulary))
