"""The sampled softmax: the frequent words, a draw of the others, and the target."""

import torch
from torch import Tensor

from lstm_lm.nn.matmul import add_product, softmax_rows, write_logits, write_product


def inclusion_probabilities(counts: Tensor, num_sampled: int) -> Tensor:
    """Probability with which each word of the tail is drawn, so that ``num_sampled`` are expected.

    Each word is in or out on its own (Poisson sampling), proportional to count^0.75 and at most 1; so dividing a
    drawn word's weight by this number makes the sum over the sample right in expectation.

    Args:
        counts: Counts of the tail words, float64.
        num_sampled: Expected size of the sample, below the number of words.

    Returns:
        Probabilities, float32, the same shape as ``counts``; they add up to ``num_sampled``.
    """
    wanted = counts**0.75
    wanted = wanted * (num_sampled / wanted.sum())
    while (excess := float((wanted - 1.0).clamp(min=0.0).sum())) > 1e-6:  # hand what is over 1 to the others
        free = wanted < 1.0
        wanted = torch.where(free, wanted * (1.0 + excess / wanted[free].sum()), torch.ones_like(wanted))
    return wanted.to(torch.float32)


class SampledSoftmax(torch.autograd.Function):
    """Cross-entropy over the candidates and the target, forward and gradient chunk by chunk."""

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
        """Mean negative log likelihood; the gradients are kept for ``backward``."""
        num_tokens, num_candidates = target_ids.numel(), candidates.numel()
        features_lp = features.detach().to(dtype)
        candidate_weight = weight.detach().index_select(0, candidates).to(dtype)
        candidate_bias = (bias.detach()[candidates] - correction).to(dtype)
        place = torch.full((weight.shape[0],), num_candidates, device=weight.device)
        place[candidates] = torch.arange(num_candidates, device=weight.device)
        place = place[target_ids].unsqueeze(1)

        grad_features = torch.empty_like(features, dtype=torch.float32)
        grad_candidates = torch.zeros(num_candidates, weight.shape[1], device=weight.device)
        grad_candidate_bias = torch.zeros(num_candidates, device=weight.device)
        target_grad = torch.empty(num_tokens, device=weight.device)
        # the last column is the target itself, without correction; where it was drawn too, the drawn one is masked
        shape = (min(chunk, num_tokens), num_candidates + 1)
        logits_buffer, buffer = (torch.empty(shape, device=weight.device) for _ in range(2))
        total = torch.zeros((), dtype=torch.float64, device=weight.device)
        for start in range(0, num_tokens, chunk):
            part = slice(start, min(start + chunk, num_tokens))
            target = target_ids[part]
            logits = logits_buffer[: len(target)]
            write_logits(logits[:, :-1], features_lp[part], candidate_weight, candidate_bias)
            target_weight = weight.detach().index_select(0, target)
            target_logits = (features.detach()[part].float() * target_weight).sum(dim=1) + bias.detach()[target]
            logits.scatter_(1, place[part], -torch.inf)
            logits[:, -1] = target_logits
            softmax, nll = softmax_rows(logits, target_logits, buffer[: len(target)])
            total += nll.sum(dtype=torch.float64)
            target_grad[part] = softmax[:, -1] - 1.0
            over_candidates = softmax[:, :-1]
            grad_candidate_bias += over_candidates.sum(dim=0)
            over_candidates_lp = over_candidates.to(dtype)
            write_product(grad_features[part], over_candidates_lp, candidate_weight)
            grad_features[part].addcmul_(target_grad[part].unsqueeze(1), target_weight)
            add_product(grad_candidates, over_candidates_lp, features_lp[part])
        ctx.save_for_backward(
            grad_features, grad_candidates, grad_candidate_bias, target_grad, features, candidates, target_ids
        )
        ctx.vocab_size, ctx.num_tokens, ctx.sparse = weight.shape[0], num_tokens, sparse  # type: ignore[attr-defined]
        return (total / num_tokens).to(torch.float32)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of ``forward``, times that of the loss."""
        (grad_features, grad_candidates, grad_candidate_bias, target_grad, features, candidates, target_ids) = (
            ctx.saved_tensors  # type: ignore[attr-defined]
        )
        vocab_size: int = ctx.vocab_size  # type: ignore[attr-defined]
        scale = grad_outputs[0] / ctx.num_tokens  # type: ignore[attr-defined]
        target_grad = target_grad * scale
        grad_bias = grad_candidates.new_zeros(vocab_size)
        grad_bias[candidates] = grad_candidate_bias * scale
        grad_bias.index_add_(0, target_ids, target_grad)
        # a word that is candidate and target stands twice
        rows = torch.cat([candidates, target_ids]).unsqueeze(0)
        values = torch.cat([grad_candidates * scale, features.float() * target_grad.unsqueeze(1)])
        grad_weight = torch.sparse_coo_tensor(rows, values, (vocab_size, values.shape[1]), check_invariants=False)
        if not ctx.sparse:  # type: ignore[attr-defined]
            grad_weight = grad_weight.to_dense()
        return grad_features * scale, grad_weight, grad_bias, None, None, None, None, None, None
