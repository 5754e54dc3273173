"""Exact cross-entropy: full softmax, and adaptive softmax with a head and clusters."""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.nn.matmul import GPU_CHUNK_LOGITS, add_product, padded, softmax_rows, write_logits, write_product


class ExactSoftmax(torch.autograd.Function):
    """Cross-entropy over the head and the target's cluster; computes loss and gradient chunk by chunk.

    Without clusters the head is the whole vocabulary, and this is the full softmax.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        cluster_weight: Tensor,
        cluster_bias: Tensor,
        target_ids: Tensor,
        bounds: tuple[int, ...],
        chunk: int,
        dtype: torch.dtype,
    ) -> Tensor:
        """Return the mean negative log likelihood and save the gradients for ``backward``."""
        features_lp, weight_lp, bias_lp = (tensor.detach().to(dtype) for tensor in (features, weight, bias))
        grad_features = torch.empty_like(features, dtype=torch.float32)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        if len(bounds) == 1:
            parts = (weight_lp, bias_lp, grad_weight, grad_bias)
            total = _cross_entropy(features_lp, target_ids, chunk, *parts, grad_features)
            grad_clusters = torch.zeros_like(cluster_weight), torch.zeros_like(cluster_bias)
        else:
            head = bounds[0]
            head_weight = torch.cat([weight_lp[:head], cluster_weight.detach().to(dtype)])
            head_bias = torch.cat([bias_lp[:head], cluster_bias.detach().to(dtype)])
            grad_head = torch.zeros_like(head_weight, dtype=weight.dtype)
            grad_head_bias = torch.zeros_like(head_bias, dtype=bias.dtype)
            cluster = torch.bucketize(target_ids, torch.tensor(bounds, device=target_ids.device), right=True)
            head_ids = torch.where(cluster == 0, target_ids, head - 1 + cluster)
            parts = (head_weight, head_bias, grad_head, grad_head_bias)
            total = _cross_entropy(features_lp, head_ids, chunk, *parts, grad_features)
            grad_weight[:head], grad_bias[:head] = grad_head[:head], grad_head_bias[:head]
            grad_clusters = grad_head[head:], grad_head_bias[head:]
            for index, (start, end) in enumerate(pairwise(bounds), start=1):
                tokens = (cluster == index).nonzero().squeeze(1)
                parts = (weight_lp[start:end], bias_lp[start:end], grad_weight[start:end], grad_bias[start:end])
                grad_part = torch.empty(len(tokens), features.shape[1], device=features.device)
                part_ids = target_ids[tokens] - start
                total += _cross_entropy(features_lp[tokens], part_ids, chunk, *parts, grad_part)
                grad_features.index_add_(0, tokens, grad_part)
        ctx.save_for_backward(grad_features, grad_weight, grad_bias, *grad_clusters)
        ctx.num_tokens = target_ids.numel()  # type: ignore[attr-defined]
        return (total / target_ids.numel()).to(torch.float32)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the saved gradients by the gradient of the loss."""
        scale = grad_outputs[0] / ctx.num_tokens  # type: ignore[attr-defined]
        return (*(tensor * scale for tensor in ctx.saved_tensors), None, None, None, None)  # type: ignore[attr-defined]


def _cross_entropy(
    features: Tensor,
    target_ids: Tensor,
    chunk: int,
    weight: Tensor,
    bias: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_features: Tensor,
) -> Tensor:
    """Summed negative log likelihood of a softmax over C words, float64.

    Args:
        features: (N, H), in the dtype of the matrix products, like ``weight`` and ``bias``.
        target_ids: (N,), each in [0, C).
        chunk: Number of tokens whose logits are in memory at the same time.
        weight: (C, H).
        bias: (C,).
        grad_weight: The gradient of ``weight`` is added here, float32.
        grad_bias: The gradient of ``bias`` is added here, float32.
        grad_features: The gradient of ``features`` is written here, float32.
    """
    num_tokens = target_ids.numel()
    if weight.device.type == "cuda":
        chunk = max(chunk, GPU_CHUNK_LOGITS // weight.shape[0])
        if weight.dtype != torch.float32:
            return low_precision_cross_entropy(
                features, target_ids, chunk, weight, bias, grad_weight, grad_bias, grad_features
            )
    words = weight.shape[0]
    logits_buffer = torch.full((min(chunk, num_tokens), padded(words)), -torch.inf, device=weight.device)
    buffer = torch.empty_like(logits_buffer)
    total = torch.zeros((), dtype=torch.float64, device=weight.device)
    for start in range(0, num_tokens, chunk):
        part = slice(start, min(start + chunk, num_tokens))
        target = target_ids[part].unsqueeze(1)
        logits = logits_buffer[: len(target)]
        write_logits(logits[:, :words], features[part], weight, bias)
        softmax, nll = softmax_rows(logits, logits.gather(1, target).squeeze(1), buffer[: len(target)])
        softmax = softmax[:, :words]
        total += nll.sum(dtype=torch.float64)
        softmax.scatter_add_(1, target, softmax.new_full(target.shape, -1.0))
        grad_bias += softmax.sum(dim=0)
        softmax_lp = softmax.to(features.dtype)
        write_product(grad_features[part], softmax_lp, weight)
        add_product(grad_weight, softmax_lp, features[part])
    return total


def low_precision_cross_entropy(
    features: Tensor,
    target_ids: Tensor,
    chunk: int,
    weight: Tensor,
    bias: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_features: Tensor,
) -> Tensor:
    """Like :func:`_cross_entropy`, but logits and softmax are stored in the dtype of the matrix products.

    On a GPU, reading and writing the logits takes longer than the products. torch sums each row in float32 for every
    dtype, and the products take the softmax in bfloat16 anyway. Words of probability 0 are added so that rows are
    aligned: with 33,278 words an H200 takes the kernels of an A100, at a quarter of its rate.
    """
    words = weight.shape[0]
    padding = padded(words) - words
    weight_rows, bias_row = F.pad(weight, (0, 0, 0, padding)), F.pad(bias, (0, padding), value=-torch.inf)
    total = torch.zeros((), dtype=torch.float64, device=weight.device)
    for part_features, part_ids, part_grad in zip(
        *(torch.split(tensor, chunk) for tensor in (features, target_ids, grad_features)), strict=True
    ):
        target = part_ids.unsqueeze(1)
        logits = torch.addmm(bias_row, part_features, weight_rows.t())
        highest, word = logits.max(dim=1, keepdim=True)
        softmax = torch.softmax(logits, dim=1)
        # relative to the most probable word, whose probability cannot underflow
        nll = highest.float() - logits.gather(1, target).float() - softmax.gather(1, word).float().log()
        total += nll.sum(dtype=torch.float64)
        softmax.scatter_add_(1, target, softmax.new_full(target.shape, -1.0))
        grad_bias += softmax.sum(dim=0, dtype=torch.float32)[:words]
        write_product(part_grad, softmax, weight_rows)
        add_product(grad_weight, softmax[:, :words], part_features)
    return total
