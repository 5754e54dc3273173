"""Training losses over a large vocabulary that never hold the logits of a whole window.

A softmax over 33,278 words makes 93 MB of logits of 700 tokens, several times over in the plain way. Both losses here
work through the tokens in chunks and take the gradient in the same pass, so that a chunk's logits are written, used
and forgotten.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lstm_lm.nn.spec import LossSpec


class SoftmaxLoss(nn.Module):
    """Mean negative log likelihood of the targets, in nats a token.

    Args:
        spec: Which softmax, and its sizes.
        counts: How often train holds each word (V,), falling; used by the sampled softmax alone.
    """

    def __init__(self, spec: LossSpec, counts: Sequence[int]) -> None:
        super().__init__()
        self.spec = spec
        self.inclusion: Tensor | None
        vocab_size = len(counts)
        if spec.name == "sampled_softmax" and spec.num_frequent + spec.num_sampled < vocab_size:
            tail = torch.tensor(counts[spec.num_frequent :], dtype=torch.float64).clamp(min=1)
            self.register_buffer("inclusion", inclusion_probabilities(tail, spec.num_sampled), persistent=False)
        else:  # a vocabulary this small is summed exactly at the same cost
            self.register_buffer("inclusion", None)

    def forward(self, features: Tensor, weight: Tensor, bias: Tensor, target_ids: Tensor) -> Tensor:
        """The loss of a window.

        Args:
            features: (N, H).
            weight: Output weights (V, H).
            bias: Output bias (V,).
            target_ids: (N,), int64.

        Returns:
            A scalar. For ``sampled_softmax`` it is an estimate that uses the frequent words, the drawn ones and the
            target.
        """
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled(features.device.type) else weight.dtype
        chunk = self.spec.chunk_tokens
        if self.inclusion is None:
            return _apply(_FullSoftmax, features, weight, bias, target_ids, chunk, dtype)
        frequent = self.spec.num_frequent
        drawn = torch.rand_like(self.inclusion).lt_(self.inclusion).nonzero().squeeze(1)
        candidates = torch.cat([torch.arange(frequent, device=drawn.device), drawn + frequent])
        correction = torch.cat([self.inclusion.new_zeros(frequent), self.inclusion[drawn].log()])
        return _apply(_SampledSoftmax, features, weight, bias, target_ids, candidates, correction, chunk, dtype)


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


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    loss = function.apply(*arguments)  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    return loss


def _softmax_rows(logits: Tensor, target_logits: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of every row and the negative log likelihood of its target.

    The likelihood is taken relative to the most probable word, whose probability cannot underflow, and so stays
    finite where the target's own probability does not.
    """
    highest = logits.amax(dim=1)  # max(), which tells the place too, takes eight times as long
    probabilities = torch.softmax(logits, dim=1, out=out)
    return probabilities, highest - target_logits - probabilities.amax(dim=1).log()


def _write_logits(out: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> None:
    """The output layer in the precision of ``features``, written in float32 to where it is needed."""
    if features.dtype == out.dtype:
        torch.addmm(bias, features, weight.t(), out=out)
    else:
        out.copy_(torch.addmm(bias, features, weight.t()))


class _FullSoftmax(torch.autograd.Function):
    """Cross-entropy over the whole vocabulary, forward and gradient chunk by chunk."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        target_ids: Tensor,
        chunk: int,
        dtype: torch.dtype,
    ) -> Tensor:
        num_tokens, rows = target_ids.numel(), torch.arange(chunk, device=weight.device)
        features_, weight_ = features.detach().to(dtype), weight.detach().to(dtype)
        grad_features = torch.empty_like(features, dtype=torch.float32)
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        bias_ = bias.detach().to(dtype)
        shape = (min(chunk, num_tokens), weight.shape[0])
        logits_buffer, buffer = (torch.empty(shape, device=weight.device) for _ in range(2))
        total = torch.zeros((), dtype=torch.float64, device=weight.device)
        for start in range(0, num_tokens, chunk):
            part = slice(start, min(start + chunk, num_tokens))
            target = target_ids[part].unsqueeze(1)
            logits = logits_buffer[: len(target)]
            _write_logits(logits, features_[part], weight_, bias_)
            softmax, nll = _softmax_rows(logits, logits.gather(1, target).squeeze(1), buffer[: len(target)])
            total += nll.sum(dtype=torch.float64)
            softmax[rows[: len(target)], target.squeeze(1)] -= 1.0
            grad_bias += softmax.sum(dim=0)
            softmax_ = softmax.to(dtype)
            _write_product(grad_features[part], softmax_, weight_)
            _add_product(grad_weight, softmax_, features_[part])
        ctx.save_for_backward(grad_features, grad_weight, grad_bias)
        ctx.num_tokens = num_tokens  # type: ignore[attr-defined]
        return (total / num_tokens).to(torch.float32)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_features, grad_weight, grad_bias = ctx.saved_tensors  # type: ignore[attr-defined]
        scale = grad_outputs[0] / ctx.num_tokens  # type: ignore[attr-defined]
        return grad_features * scale, grad_weight * scale, grad_bias * scale, None, None, None


class _SampledSoftmax(torch.autograd.Function):
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
    ) -> Tensor:
        num_tokens, num_candidates = target_ids.numel(), candidates.numel()
        features_ = features.detach().to(dtype)
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
            _write_logits(logits[:, :-1], features_[part], candidate_weight, candidate_bias)
            target_weight = weight.detach().index_select(0, target)
            target_logits = (features.detach()[part].float() * target_weight).sum(dim=1) + bias.detach()[target]
            logits.scatter_(1, place[part], -torch.inf)
            logits[:, -1] = target_logits
            softmax, nll = _softmax_rows(logits, target_logits, buffer[: len(target)])
            total += nll.sum(dtype=torch.float64)
            target_grad[part] = softmax[:, -1] - 1.0
            over_candidates = softmax[:, :-1]
            grad_candidate_bias += over_candidates.sum(dim=0)
            over_candidates_ = over_candidates.to(dtype)
            _write_product(grad_features[part], over_candidates_, candidate_weight)
            grad_features[part].addcmul_(target_grad[part].unsqueeze(1), target_weight)
            _add_product(grad_candidates, over_candidates_, features_[part])
        ctx.save_for_backward(
            grad_features, grad_candidates, grad_candidate_bias, target_grad, features, candidates, target_ids
        )
        ctx.vocab_size, ctx.num_tokens = weight.shape[0], num_tokens  # type: ignore[attr-defined]
        return (total / num_tokens).to(torch.float32)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_features, grad_candidates, grad_candidate_bias, target_grad, features, candidates, target_ids) = (
            ctx.saved_tensors  # type: ignore[attr-defined]
        )
        vocab_size: int = ctx.vocab_size  # type: ignore[attr-defined]
        scale = grad_outputs[0] / ctx.num_tokens  # type: ignore[attr-defined]
        grad_weight = grad_candidates.new_zeros(vocab_size, grad_candidates.shape[1])
        grad_bias = grad_candidates.new_zeros(vocab_size)
        grad_weight[candidates] = grad_candidates * scale
        grad_bias[candidates] = grad_candidate_bias * scale
        target_grad = target_grad * scale
        grad_weight.index_add_(0, target_ids, features.float() * target_grad.unsqueeze(1))
        grad_bias.index_add_(0, target_ids, target_grad)
        return grad_features * scale, grad_weight, grad_bias, None, None, None, None, None


def _write_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """``out = left right``, in the product's own precision."""
    if left.dtype == out.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(left @ right)


def _add_product(total: Tensor, softmax: Tensor, features: Tensor) -> None:
    """``total += softmax^T features``, in the product's own precision and added up in float32."""
    if softmax.dtype == total.dtype:
        total.addmm_(softmax.t(), features)
    else:
        total += softmax.t() @ features
