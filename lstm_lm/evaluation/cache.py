"""The neural cache: words that a text has used count again where their context is like the present one.

Grave, Joulin and Usunier 2017, "Improving Neural Language Models with a Continuous Cache", §3. The features h_i before
each word x_i of the split are kept, and

    p_cache(w) ~ sum over i in the last `window` of [w = x_i] exp(theta h_t . h_i)
    p(w) = (1 - lambda) p_model(w) + lambda p_cache(w)

with h_t the features before the word that is scored, so that nothing of it or after it is in the cache. The first word
of a split has an empty cache and is the model's alone. Scoring a split is another matter than the cache of a request
(``inference.neural_cache``), which goes by words that the vocabulary need not know, a single place at a time.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import eval_mode, stream_features
from lstm_lm.evaluation.intervals import bootstrap
from lstm_lm.evaluation.score import CHUNK, Score, ScoreMetric, target_rank
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary


class NeuralCache:
    """The last words of a stream, each with the features before it.

    Memory is that of ``window`` features and, while a block of n words is scored, of n x (window + n) weights.

    Args:
        window: Words that it holds; 0 is all.
        theta: Sharpness.
        weight: Its share in the mixture, lambda.
        hidden_dim: Width of the features.
    """

    def __init__(self, window: int, theta: float, weight: float, hidden_dim: int) -> None:
        self.window = window
        self.theta = theta
        self.weight = weight
        self._features = torch.empty(0, hidden_dim)
        self._words = torch.empty(0, dtype=torch.int64)

    @classmethod
    def of(cls, settings: Mapping[str, float], model: LSTMLanguageModel) -> "NeuralCache":
        """An empty cache for the features of ``model``, with the settings of an evaluation."""
        window, theta, weight = (settings[f"cache_{name}"] for name in ("window", "theta", "weight"))
        return cls(int(window), theta, weight, model.config.hidden_dims[-1])

    def interpolate(self, log_probabilities: Tensor, features: Tensor, target_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the cache into the model's distributions over a block of words, then take the block in.

        Each row sees the words before its own, those of this block too.

        Args:
            log_probabilities: The model's (n, V). Overwritten.
            features: Before every word (n, H).
            target_ids: The words (n,).

        Returns:
            Probabilities of the mixture (n, V), in the memory of ``log_probabilities``; and the targets' negative log
            likelihood (n,), which is finite where a probability is too small for float32.
        """
        weights, words = self._attention(features, target_ids)
        shares = torch.full((len(features), 1), self.weight)
        if len(words) == len(features):  # the very first word has nothing to look back on
            shares[0] = 0.0
        target_mass = (weights * (words == target_ids.unsqueeze(1))).sum(dim=1)
        nll = -torch.logaddexp(
            torch.log1p(-shares[:, 0]) + log_probabilities.gather(1, target_ids.unsqueeze(1)).squeeze(1),
            shares[:, 0].log() + target_mass.log(),
        )
        mixture = log_probabilities.exp_().mul_(1.0 - shares)
        mixture.scatter_add_(1, words.expand(len(features), -1), weights.mul_(shares))
        return mixture, nll

    def _attention(self, features: Tensor, target_ids: Tensor) -> tuple[Tensor, Tensor]:
        """How much each word of a block looks at the places before it, and take the block in.

        Returns:
            Weights (n, m + n) over the m places before the block and its own, 0 outside the window; and the words at
            these places (m + n,).
        """
        count, before = len(features), len(self._words)
        keys = torch.cat([self._features, features])
        words = torch.cat([self._words, target_ids])
        scores = (features * self.theta) @ keys.t()
        position, own = torch.arange(len(words)), before + torch.arange(count).unsqueeze(1)
        hidden = position >= own
        if self.window:
            hidden |= position < own - self.window
            self._features, self._words = keys[-self.window :], words[-self.window :]
        else:
            self._features, self._words = keys, words
        scores.masked_fill_(hidden, -torch.inf)
        if before == 0:
            scores[0, 0] = 0.0  # its share is 0, and NaN would outlive even that
        return torch.softmax(scores, dim=1), words


def evaluate_cache(
    model: LSTMLanguageModel,
    ids: NDArray[np.int32],
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    progress: Callable[[int, int], None] | None = None,
) -> Score:
    """Score every token of a split with the exact mixture of model and neural cache, in float32.

    Args:
        model: The network; left in the mode it came in.
        ids: The split's stream of word ids (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: Window length.
        settings: ``cache_window``, ``cache_theta`` and ``cache_weight``.
        progress: Called after each window with the tokens done and the tokens in all.

    Raises:
        DataError: If the split is empty.
    """
    cache = NeuralCache.of(settings, model)
    metric, nlls, done = ScoreMetric(vocabulary), [], 0
    with eval_mode(model):
        for features, target_ids in stream_features(model, ids, config.window_length, vocabulary.eos_id):
            for part, targets in zip(torch.split(features, CHUNK), torch.split(target_ids, CHUNK), strict=True):
                mixture, nll = cache.interpolate(F.log_softmax(model.logits(part), dim=1), part, targets)
                metric.update(nll, target_rank(mixture, targets), targets)
                nlls.append(nll.double().numpy())
            done += len(target_ids)
            if progress is not None:
                progress(done, len(ids))
    return metric.score(bootstrap(np.concatenate(nlls), ids, vocabulary))
