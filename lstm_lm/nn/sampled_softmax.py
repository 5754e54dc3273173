"""Sampled softmax: cross-entropy over the frequent words, a sample of the others, and the target."""

import torch
from torch import Tensor

from lstm_lm.nn.matmul import GPU_CHUNK_LOGITS, softmax_and_log_sum

_MULTIPLE = 64


def inclusion_probabilities(counts: Tensor, num_sampled: int) -> Tensor:
    """Probability of drawing each word of the tail, for an expected sample of ``num_sampled`` words.

    Words are drawn independently (Poisson sampling), with a probability proportional to count^0.75 and at most 1.
    Dividing the weight of a drawn word by its probability makes the sum over the sample unbiased.

    Args:
        counts: Counts of the tail words, float64.
        num_sampled: Expected size of the sample, below the number of words.

    Returns:
        Probabilities, float32, in the shape of ``counts``; their sum is ``num_sampled``.
    """
    probs = counts**0.75
    probs = probs * (num_sampled / probs.sum())
    while (excess := float((probs - 1.0).clamp(min=0.0).sum())) > 1e-6:  # distribute the excess over the other words
        free = probs < 1.0
        probs = torch.where(free, probs * (1.0 + excess / probs[free].sum()), torch.ones_like(probs))
    return probs.to(torch.float32)


def draw_words(inclusion: Tensor, num_sampled: int, num_frequent: int, fixed_size: bool) -> tuple[Tensor, Tensor]:
    """Draw words of the tail independently, each with its inclusion probability.

    Args:
        inclusion: Inclusion probabilities (N,).
        num_sampled: Their sum.
        num_frequent: Words before the tail. With them, the number of words is a multiple of 64, unless the tail has too
            few: a CPU multiplies such matrices faster, and prepares its kernels for few sizes.
        fixed_size: Return the same number of words each time. Without it a GPU has to report how many words were drawn,
            and the step waits for it.

    Returns:
        Positions of the words (M,), the drawn ones and then padding, and the logarithms of their inclusion
        probabilities; infinity for padding, which gives it a weight of zero.
    """
    is_drawn = torch.rand_like(inclusion) < inclusion
    if not fixed_size:
        drawn = is_drawn.nonzero().squeeze(1)
        padding = is_drawn.logical_not().nonzero().squeeze(1)[: -(num_frequent + len(drawn)) % _MULTIPLE]
        return torch.cat([drawn, padding]), torch.cat([inclusion[drawn].log(), torch.full((len(padding),), torch.inf)])
    # the variance of the number drawn is below num_sampled: six standard deviations are never exceeded in practice
    size = min(num_sampled + round(6.0 * num_sampled**0.5), len(inclusion))
    is_drawn, drawn = is_drawn.to(torch.uint8).topk(size)
    return drawn, torch.where(is_drawn.bool(), inclusion[drawn].log(), torch.inf)


class SampledSoftmax(torch.autograd.Function):
    """Cross-entropy over the candidates and the target; computes loss and gradient chunk by chunk."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        target_ids: Tensor,
        candidates: Tensor,
        correction: Tensor,
        chunk: int,
        dtype: torch.dtype,
        sparse: bool,
    ) -> Tensor:
        """Return the mean negative log likelihood and save the gradients for ``backward``."""
        num_tokens, num_candidates, device = target_ids.numel(), candidates.numel(), weight.device
        if device.type == "cuda":
            chunk = max(chunk, GPU_CHUNK_LOGITS // num_candidates)
        features_lp = features.detach().to(dtype)
        candidate_weight = weight.detach().index_select(0, candidates).to(dtype)
        candidate_bias = (bias.detach()[candidates] - correction).to(dtype)
        position = torch.full((weight.shape[0],), -1, device=device)
        position[candidates] = torch.arange(num_candidates, device=device)
        position = position[target_ids].unsqueeze(1)
        target_weight = weight.detach().index_select(0, target_ids)
        target_logits = (features.detach().float() * target_weight).sum(dim=1) + bias.detach()[target_ids]

        grad_features = torch.empty_like(features, dtype=torch.float32)
        grad_candidates = torch.zeros(num_candidates, weight.shape[1], device=device)
        grad_candidate_bias = torch.zeros(num_candidates, device=device)
        target_grad = torch.empty(num_tokens, device=device)
        total = torch.zeros((), dtype=torch.float64, device=device)
        for start in range(0, num_tokens, chunk):
            part = slice(start, start + chunk)
            logits = torch.addmm(candidate_bias, features_lp[part], candidate_weight.t())
            # the target counts once, uncorrected: if it was drawn too, the drawn candidate is masked
            column = position[part].clamp(min=0)
            masked = torch.where(position[part] < 0, logits.gather(1, column), -torch.inf)
            logits.scatter_(1, column, masked)
            # a softmax over the candidates only, without the target, whose share of the probability is added in float32
            softmax, log_sum = softmax_and_log_sum(logits)
            log_normalizer = torch.logaddexp(log_sum, target_logits[part])
            total += (log_normalizer - target_logits[part]).sum(dtype=torch.float64)
            share = torch.exp(log_sum - log_normalizer)
            target_grad[part] = -share
            share = share.unsqueeze(1)
            torch.mul(softmax @ candidate_weight, share, out=grad_features[part])
            grad_candidates += softmax.t() @ (features_lp[part] * share).to(dtype)
            grad_candidate_bias += (share.to(dtype).t() @ softmax).squeeze(0)
        grad_features.addcmul_(target_grad.unsqueeze(1), target_weight)
        ctx.save_for_backward(
            grad_features, grad_candidates, grad_candidate_bias, target_grad, features, candidates, target_ids
        )
        ctx.vocab_size, ctx.num_tokens, ctx.sparse = weight.shape[0], num_tokens, sparse  # type: ignore[attr-defined]
        return (total / num_tokens).to(torch.float32)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the saved gradients by the gradient of the loss."""
        (grad_features, grad_candidates, grad_candidate_bias, target_grad, features, candidates, target_ids) = (
            ctx.saved_tensors  # type: ignore[attr-defined]
        )
        vocab_size: int = ctx.vocab_size  # type: ignore[attr-defined]
        scale = grad_outputs[0] / ctx.num_tokens  # type: ignore[attr-defined]
        target_grad = target_grad * scale
        grad_bias = grad_candidates.new_zeros(vocab_size)
        grad_bias[candidates] = grad_candidate_bias * scale
        grad_bias.index_add_(0, target_ids, target_grad)
        # a word that is candidate and target occurs twice
        rows = torch.cat([candidates, target_ids])
        values = torch.cat([grad_candidates * scale, features.float() * target_grad.unsqueeze(1)])
        size = (vocab_size, values.shape[1])
        if ctx.sparse:  # type: ignore[attr-defined]
            grad_weight = torch.sparse_coo_tensor(rows.unsqueeze(0), values, size, check_invariants=False)
        else:
            grad_weight = values.new_zeros(size).index_add_(0, rows, values)
        return grad_features * scale, grad_weight, grad_bias, None, None, None, None, None, None
