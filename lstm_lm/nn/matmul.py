"""Matrix products and softmax of a chunk of tokens, with preallocated outputs."""

import torch
from torch import Tensor

# smallest chunk on a GPU, half a gigabyte in bfloat16: small chunks leave most of a GPU idle, and each one updates the
# gradient of all weights
GPU_CHUNK_LOGITS = 2**28
_CACHE_LINE = 16  # float32 numbers


def padded(columns: int) -> int:
    """The smallest number of columns, at least ``columns``, with which every row begins at a cache line.

    A product that writes a row of logits across cache lines, as with 33,278 words, takes up to 1.5 times as long on a
    CPU. A GPU's fastest products of bfloat16 need rows of a multiple of 16 bytes.
    """
    return -(-columns // _CACHE_LINE) * _CACHE_LINE


def empty_rows(rows: int, columns: int) -> Tensor:
    """An uninitialized float32 matrix on the CPU, each row of which begins at a cache line."""
    return torch.empty(rows, padded(columns), dtype=torch.float32, device="cpu")[:, :columns]


def softmax_rows(logits: Tensor, target_logits: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of every row and the negative log likelihood of its target.

    The likelihood is computed relative to the most probable word, whose probability cannot underflow: it stays finite
    even if the target's probability underflows.
    """
    highest = logits.amax(dim=1)  # max(), which also returns positions, takes eight times as long
    probabilities = torch.softmax(logits, dim=1, out=out)
    return probabilities, highest - target_logits - probabilities.amax(dim=1).log()


def softmax_and_log_sum(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of every row, and the logarithm of the sum of the exponentials (N,), float32.

    The sum is computed relative to the most probable word, whose probability cannot underflow.
    """
    softmax = torch.softmax(logits, dim=1)
    return softmax, logits.amax(dim=1).float() - softmax.amax(dim=1).float().log()


def write_logits(out: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> None:
    """``out = features weight^T + bias`` in the dtype of ``features``, written as float32."""
    if features.dtype == out.dtype:
        torch.addmm(bias, features, weight.t(), out=out)
    else:
        out.copy_(torch.addmm(bias, features, weight.t()))


def write_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """``out = left right``, in the dtype of the factors."""
    if left.dtype == out.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left @ right)


def add_product(total: Tensor, softmax: Tensor, features: Tensor) -> None:
    """``total += softmax^T features``: the product in the dtype of the factors, the sum in float32."""
    if softmax.dtype == total.dtype:
        total.addmm_(softmax.t(), features)
    else:
        total += softmax.t() @ features
