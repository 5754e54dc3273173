"""The dropouts of AWD-LSTM (Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models")."""

import torch
from torch import Tensor, nn


class LockedDropout(nn.Module):
    """One mask for every step of a window: variational dropout (§4.2, after Gal & Ghahramani 2016).

    Args:
        probability: Share of features that is set to zero; the rest is scaled up so that the mean stays.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, features: Tensor) -> Tensor:
        """Drop the same features at every step; the identity outside training.

        Args:
            features: (B, T, H).

        Returns:
            A tensor of the same shape.
        """
        if not self.training or self.probability == 0.0:
            return features
        mask = features.new_empty(features.shape[0], 1, features.shape[2]).bernoulli_(1.0 - self.probability)
        return features * mask.div_(1.0 - self.probability)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"probability={self.probability}"


def keep_words(num_words: int, probability: float, device: torch.device) -> Tensor:
    """Draw the words of the vocabulary that embedding dropout keeps for one window (§4.3).

    Args:
        num_words: Vocabulary size V.
        probability: Share of words that is dropped, each with all its occurrences.
        device: Where the mask is made.

    Returns:
        Factors (V,): 0 for a dropped word, ``1 / (1 - probability)`` for the others.
    """
    return torch.empty(num_words, device=device).bernoulli_(1.0 - probability).div_(1.0 - probability)
