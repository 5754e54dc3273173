"""Matrix products and softmax of a chunk of tokens, written to where they are needed."""

import torch
from torch import Tensor


def softmax_rows(logits: Tensor, target_logits: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of every row and the negative log likelihood of its target.

    The likelihood is taken relative to the most probable word, whose probability cannot underflow, and so stays
    finite where the target's own probability does not.
    """
    highest = logits.amax(dim=1)  # max(), which tells the place too, takes eight times as long
    probabilities = torch.softmax(logits, dim=1, out=out)
    return probabilities, highest - target_logits - probabilities.amax(dim=1).log()


def write_logits(out: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> None:
    """The output layer in the precision of ``features``, written in float32 to where it is needed."""
    if features.dtype == out.dtype:
        torch.addmm(bias, features, weight.t(), out=out)
    else:
        out.copy_(torch.addmm(bias, features, weight.t()))


def write_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """``out = left right``, in the product's own precision."""
    if left.dtype == out.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left @ right)


def add_product(total: Tensor, softmax: Tensor, features: Tensor) -> None:
    """``total += softmax^T features``, in the product's own precision and added up in float32."""
    if softmax.dtype == total.dtype:
        total.addmm_(softmax.t(), features)
    else:
        total += softmax.t() @ features
