"""Adaptive softmax: a head of frequent words, and clusters of rarer words below it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INIT_RANGE = 0.1  # initial weights are uniform in [-0.1, 0.1] (Zaremba et al. 2014, Merity et al. 2017 §5)


class TailClusters(nn.Module):
    """The cluster weights of an adaptive softmax (Grave et al. 2016, "Efficient softmax approximation for GPUs").

    They come on top of the V output weights, which stay tied and at full width as in Merity et al. 2018, "An Analysis
    of Neural Language Modeling at Multiple Scales", §3.1. Words are sorted by descending frequency. The head is a
    softmax over its words and one vector per cluster; for a word of a cluster,
    ``p(word) = p(cluster) p(word | cluster)``.

    Args:
        bounds: Ends of the head and of each cluster, increasing; the last is V. K + 1 numbers for K clusters.
        dim: Width of the features H.
    """

    def __init__(self, bounds: Sequence[int], dim: int) -> None:
        super().__init__()
        self.bounds = tuple(bounds)
        self.weight = nn.Parameter(torch.empty(len(bounds) - 1, dim))
        self.bias = nn.Parameter(torch.zeros(len(bounds) - 1))
        nn.init.uniform_(self.weight, -INIT_RANGE, INIT_RANGE)

    @property
    def sizes(self) -> list[int]:
        """Number of words of the head and of each cluster."""
        return [end - start for start, end in zip((0, *self.bounds), self.bounds, strict=False)]

    def init_bias_from_unigrams(self, probs: Tensor) -> None:
        """Set the bias of each cluster to its log probability.

        Args:
            probs: Unigram probability of each word (V,).
        """
        with torch.no_grad():
            self.bias.copy_(torch.stack([part.sum() for part in torch.split(probs, self.sizes)[1:]]).log())

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Exact logits of the full vocabulary.

        Args:
            features: (..., H).
            logits: Their logits from the V output weights (..., V).

        Returns:
            Logits (..., V), float32, whose softmax over V is the model's distribution: the logits of each cluster are
            shifted so that their logsumexp is the cluster's logit.
        """
        cluster_logits = F.linear(features, self.weight, self.bias).float()
        head, *tails = torch.split(logits.float(), self.sizes, dim=-1)
        shifted = [
            tail + (cluster_logit - tail.logsumexp(dim=-1, keepdim=True))
            for tail, cluster_logit in zip(tails, torch.split(cluster_logits, 1, dim=-1), strict=True)
        ]
        return torch.cat([head, *shifted], dim=-1)
