"""Training losses that never store the logits of a whole window.

For 700 tokens and 33,278 words the logits take 93 MB, and a naive implementation stores them several times. The losses
here process the tokens in chunks and compute the gradient in the same pass, so that only one chunk of logits is in
memory.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lstm_lm.nn.clusters import TailClusters
from lstm_lm.nn.config import LossConfig
from lstm_lm.nn.exact_softmax import ExactSoftmax
from lstm_lm.nn.sampled_softmax import SampledSoftmax, draw_words, inclusion_probabilities


class SoftmaxLoss(nn.Module):
    """Mean negative log likelihood of the targets, in nats per token.

    Args:
        config: The softmax and its sizes.
        counts: Number of occurrences of each word in train (V,), descending; only the sampled softmax uses them.
        sparse_gradient: Sampled softmax: give the output weights a sparse gradient with the rows of the candidates and
            the targets only.
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
        else:  # for a small vocabulary the exact softmax costs the same
            self.register_buffer("inclusion", None)

    def forward(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        target_ids: Tensor,
        clusters: TailClusters | None = None,
    ) -> Tensor:
        """Compute the loss of a window.

        Args:
            features: (N, H).
            weight: Output weights (V, H).
            bias: Output bias (V,).
            target_ids: (N,), int64.
            clusters: Clusters of the network, if it has an adaptive softmax.

        Returns:
            A scalar. For ``sampled_softmax`` it is an estimate from the frequent words, the drawn words and the target.
        """
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        chunk = self.config.chunk_tokens
        if clusters is not None:
            assert self.inclusion is None, "the config check refuses sampling with an adaptive softmax"
            parts = (clusters.weight, clusters.bias, target_ids, clusters.bounds)
            return _apply(ExactSoftmax, features, weight, bias, *parts, chunk, dtype)
        if self.inclusion is None:
            none = weight.new_empty(0, weight.shape[1]), bias.new_empty(0)
            return _apply(ExactSoftmax, features, weight, bias, *none, target_ids, (len(bias),), chunk, dtype)
        frequent = self.config.num_frequent
        drawn, log_inclusion = draw_words(self.inclusion, self.config.num_sampled, frequent, device == "cuda")
        candidates = torch.cat([torch.arange(frequent, device=drawn.device), drawn + frequent])
        correction = torch.cat([self.inclusion.new_zeros(frequent), log_inclusion])
        sampled = (candidates, correction, chunk, dtype, self.sparse_gradient)
        return _apply(SampledSoftmax, features, weight, bias, target_ids, *sampled)


def _apply(function: type[torch.autograd.Function], features: Tensor, *arguments: Any) -> Tensor:
    # the functions choose the dtype of each product themselves; autocast would store a GPU's softmax in float32
    with torch.autocast(features.device.type, enabled=False):
        loss = function.apply(features, *arguments)  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    return loss
