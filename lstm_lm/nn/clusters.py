"""The split softmax: a head of frequent words, and clusters of rarer ones that are reached through the head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SPREAD = 0.1  # random embeddings lie in [-0.1, 0.1] (Zaremba et al. 2014, Merity et al. 2017 §5)


class TailClusters(nn.Module):
    """What an output layer needs on top of its V weights to be split (Grave et al. 2016, "Efficient softmax
    approximation for GPUs"; with full-width, tied weights as in Merity et al. 2018, "An Analysis of Neural Language
    Modeling at Multiple Scales", §3.1).

    Words are sorted by falling frequency. The head is a softmax over its words and one vector for each cluster, and
    ``p(word) = p(cluster) p(word | cluster)`` for a word of a cluster.

    Args:
        bounds: Where the head and each cluster end, rising; the last is V. K + 1 numbers for K clusters.
        dim: Width of the features H.
    """

    def __init__(self, bounds: Sequence[int], dim: int) -> None:
        super().__init__()
        self.bounds = tuple(bounds)
        self.weight = nn.Parameter(torch.empty(len(bounds) - 1, dim))
        self.bias = nn.Parameter(torch.zeros(len(bounds) - 1))
        nn.init.uniform_(self.weight, -SPREAD, SPREAD)

    @property
    def sizes(self) -> list[int]:
        """Number of words of the head and of each cluster."""
        return [end - start for start, end in zip((0, *self.bounds), self.bounds, strict=False)]

    def init_bias_from_unigrams(self, probabilities: Tensor) -> None:
        """Set the bias of each cluster to its log probability.

        Args:
            probabilities: Of every word, (V,).
        """
        with torch.no_grad():
            self.bias.copy_(torch.stack([part.sum() for part in torch.split(probabilities, self.sizes)[1:]]).log())

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Exact logits of the whole vocabulary.

        Args:
            features: (..., H).
            logits: What the V output weights make of them, (..., V).

        Returns:
            Logits (..., V), float32, whose softmax over V is the model's distribution: those of a cluster are moved so
            that together they weigh as much as the cluster's vector.
        """
        vectors = F.linear(features, self.weight, self.bias).float()
        head, *tails = torch.split(logits.float(), self.sizes, dim=-1)
        moved = [
            tail + (vector - tail.logsumexp(dim=-1, keepdim=True))
            for tail, vector in zip(tails, torch.split(vectors, 1, dim=-1), strict=True)
        ]
        return torch.cat([head, *moved], dim=-1)
