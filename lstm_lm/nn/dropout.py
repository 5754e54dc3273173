"""The dropouts of AWD-LSTM (Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models")."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_STEPS = 2**16  # a probability is rounded to a multiple of 1 / 65,536


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
        return features * dropout_mask((features.shape[0], 1, features.shape[2]), self.probability, features)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"probability={self.probability}"


def dropout_mask(shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
    """Draw what dropout multiplies by.

    Four factors are cut out of each random integer: for the weights of a layer that takes a third of the time of
    ``F.dropout``, which would be more than a hundredth of a training step.

    Args:
        shape: Shape of the factors.
        probability: Share of factors that is 0, in (0, 1).
        like: A tensor with the number format and the device of the factors.

    Returns:
        Factors, 0 or about ``1 / (1 - probability)``; their mean is 1.
    """
    size = math.prod(shape)
    drawn = torch.empty(-(-size // 4), dtype=torch.int64, device=like.device).random_(-(2**63), None)
    num_dropped = min(round(probability * _STEPS), _STEPS - 1)
    factors = like.new_empty(shape)
    torch.ge(drawn.view(torch.int16)[:size].view(factors.shape), num_dropped - _STEPS // 2, out=factors)
    return factors.mul_(_STEPS / (_STEPS - num_dropped))
