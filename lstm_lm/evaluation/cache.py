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

import torch
from torch import Tensor


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
