"""The exact softmaxes: over the whole vocabulary, or split into a head and clusters."""

from itertools import pairwise

import torch
from torch import Tensor

from lstm_lm.nn.matmul import add_product, softmax_rows, write_logits, write_product


class ExactSoftmax(torch.autograd.Function):
    """Cross-entropy over the head and over the target's own cluster, forward and gradient chunk by chunk.

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
        """Mean negative log likelihood; the gradients are kept for ``backward``."""
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
        """The gradients of ``forward``, times that of the loss."""
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
        features: (N, H), in the precision of the products; so are ``weight`` and ``bias``.
        target_ids: (N,), each in [0, C).
        chunk: Tokens whose logits exist at one time.
        weight: (C, H).
        bias: (C,).
        grad_weight: Its gradient is added here, float32.
        grad_bias: Its gradient is added here, float32.
        grad_features: Their gradient is written here, float32.
    """
    num_tokens = target_ids.numel()
    shape = (min(chunk, num_tokens), weight.shape[0])
    logits_buffer, buffer = (torch.empty(shape, device=weight.device) for _ in range(2))
    total = torch.zeros((), dtype=torch.float64, device=weight.device)
    for start in range(0, num_tokens, chunk):
        part = slice(start, min(start + chunk, num_tokens))
        target = target_ids[part].unsqueeze(1)
        logits = logits_buffer[: len(target)]
        write_logits(logits, features[part], weight, bias)
        softmax, nll = softmax_rows(logits, logits.gather(1, target).squeeze(1), buffer[: len(target)])
        total += nll.sum(dtype=torch.float64)
        softmax.scatter_add_(1, target, softmax.new_full(target.shape, -1.0))
        grad_bias += softmax.sum(dim=0)
        softmax_lp = softmax.to(features.dtype)
        write_product(grad_features[part], softmax_lp, weight)
        add_product(grad_weight, softmax_lp, features[part])
    return total
