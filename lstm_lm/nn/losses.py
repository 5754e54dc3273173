"""Training losses over a large vocabulary that never hold the logits of a whole window.

A softmax over 33,278 words makes 93 MB of logits of 700 tokens, several times over in the plain way. The losses here
work through the tokens in chunks and take the gradient in the same pass, so that a chunk's logits are written, used
and forgotten.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lstm_lm.nn.clusters import TailClusters
from lstm_lm.nn.config import LossConfig
from lstm_lm.nn.exact_softmax import ExactSoftmax
from lstm_lm.nn.sampled_softmax import SampledSoftmax, inclusion_probabilities


class SoftmaxLoss(nn.Module):
    """Mean negative log likelihood of the targets, in nats a token.

    Args:
        config: Which softmax, and its sizes.
        counts: How often train holds each word (V,), falling; used by the sampled softmax alone.
        sparse_gradient: Sampled softmax: give the output weights a sparse gradient, with the rows of the candidates and
            of the targets alone.
    """

    def __init__(self, config: LossConfig, counts: Sequence[int], sparse_gradient: bool = False) -> None:
        super().__init__()
        self.config = config
        self.sparse_gradient = sparse_gradient
        self.inclusion: Tensor | None
        vocab_size = len(counts)
        if config.name == "sampled_softmax" and config.num_frequent + config.num_sampled < vocab_size:
            tail = torch.tensor(counts[config.num_frequent :], dtype=torch.float64).clamp(min=1)
            self.register_buffer("inclusion", inclusion_probabilities(tail, config.num_sampled), persistent=False)
        else:  # a vocabulary this small is summed exactly at the same cost
            self.register_buffer("inclusion", None)

    def forward(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        target_ids: Tensor,
        clusters: TailClusters | None = None,
    ) -> Tensor:
        """The loss of a window.

        Args:
            features: (N, H).
            weight: Output weights (V, H).
            bias: Output bias (V,).
            target_ids: (N,), int64.
            clusters: The network's own, where its output layer is split.

        Returns:
            A scalar. For ``sampled_softmax`` it is an estimate that uses the frequent words, the drawn ones and the
            target.
        """
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        chunk = self.config.chunk_tokens
        if clusters is not None:
            assert self.inclusion is None, "a split output layer is not sampled from; the config's check refuses it"
            parts = (clusters.weight, clusters.bias, target_ids, clusters.bounds)
            return _apply(ExactSoftmax, features, weight, bias, *parts, chunk, dtype)
        if self.inclusion is None:
            none = weight.new_empty(0, weight.shape[1]), bias.new_empty(0)
            return _apply(ExactSoftmax, features, weight, bias, *none, target_ids, (len(bias),), chunk, dtype)
        frequent = self.config.num_frequent
        drawn = torch.rand_like(self.inclusion).lt_(self.inclusion).nonzero().squeeze(1)
        candidates = torch.cat([torch.arange(frequent, device=drawn.device), drawn + frequent])
        correction = torch.cat([self.inclusion.new_zeros(frequent), self.inclusion[drawn].log()])
        sampled = (candidates, correction, chunk, dtype, self.sparse_gradient)
        return _apply(SampledSoftmax, features, weight, bias, target_ids, *sampled)


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    loss = function.apply(*arguments)  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    return loss
