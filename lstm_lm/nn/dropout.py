"""The dropouts of AWD-LSTM (Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models")."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_STEPS = 2**16  # probabilities are rounded to a multiple of 1 / 65,536


class LockedDropout(nn.Module):
    """Variational dropout: one mask for all steps of a window (§4.2, after Gal & Ghahramani 2016).

    Args:
        probability: Fraction of the features set to zero; the others are scaled up, which keeps the mean.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, features: Tensor) -> Tensor:
        """Drop the same features at every step; the identity in evaluation mode.

        Args:
            features: (B, T, H).

        Returns:
            A tensor of the same shape.
        """
        if not self.training or self.probability == 0.0:
            return features
        return features * dropout_mask((features.shape[0], 1, features.shape[2]), self.probability, features)

    def extra_repr(self) -> str:
        """Text for ``print(model)``."""
        return f"probability={self.probability}"


def dropout_mask(shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
    """Draw a dropout mask.

    Each random integer gives four factors. For the weights of a layer that takes a third of the time of ``F.dropout``,
    which would be over 1% of a training step.

    Args:
        shape: Shape of the mask.
        probability: Fraction of zeros, in (0, 1).
        like: A tensor with the dtype and the device of the mask.

    Returns:
        Factors that are 0 or about ``1 / (1 - probability)``; their mean is 1.
    """
    size = math.prod(shape)
    drawn = torch.empty(-(-size // 4), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    num_dropped = min(round(probability * _STEPS), _STEPS - 1)
    factors = like.new_empty(shape)
    torch.ge(drawn.view(torch.int16)[:size].view(factors.shape), num_dropped - _STEPS // 2, out=factors)
    return factors.mul_(_STEPS / (_STEPS - num_dropped))
