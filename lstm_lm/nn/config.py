"""What a network and its training loss are made of, as plain data.

These classes are the config schema, the constructor arguments and the JSON of a bundle at once. They import no torch.
"""

from dataclasses import dataclass, field
from itertools import pairwise

LOSS_NAMES = ("full_softmax", "sampled_softmax", "adaptive_softmax")


@dataclass
class ModelConfig:
    """An embedding, a stack of LSTM layers and an output layer (Merity et al. 2017, "Regularizing and Optimizing LSTM
    Language Models").

    Attributes:
        embedding_dim: Width of a word's vector.
        hidden_dims: Width of every LSTM layer, first to last.
        tie_weights: Use the embedding as the output layer too (Inan et al. 2016; Press & Wolf 2016).
        embedding_dropout: Probability that a word of the vocabulary is dropped for a whole window (§4.3).
        input_dropout: Locked dropout between embedding and first layer (§4.2).
        hidden_dropout: Locked dropout between layers.
        output_dropout: Locked dropout after the last layer.
        weight_dropout: DropConnect on the hidden-to-hidden weights (§2).
        cutoffs: Split softmax: where the vocabulary, sorted by falling frequency, is cut into a head and
            clusters, as shares of its number of words; empty is one softmax over all words.
    """

    embedding_dim: int = 200
    hidden_dims: list[int] = field(default_factory=lambda: [200, 200])
    tie_weights: bool = True
    embedding_dropout: float = 0.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    output_dropout: float = 0.0
    weight_dropout: float = 0.0
    cutoffs: list[float] = field(default_factory=list)

    @property
    def num_layers(self) -> int:
        """Number of LSTM layers."""
        return len(self.hidden_dims)

    def num_parameters(self, vocab_size: int) -> int:
        """Number of weights of the network for a vocabulary of ``vocab_size`` words; tied weights count once."""
        widths = [self.embedding_dim, *self.hidden_dims]
        # four gates, each with weights for input and hidden state and two biases
        layers = sum(4 * hidden * (below + hidden + 2) for below, hidden in zip(widths, self.hidden_dims, strict=False))
        output = 0 if self.tie_weights else vocab_size * self.hidden_dims[-1]
        clusters = (len(self.cluster_bounds(vocab_size)) - 1) * (self.hidden_dims[-1] + 1)
        return vocab_size * self.embedding_dim + layers + output + vocab_size + clusters

    def cluster_bounds(self, vocab_size: int) -> list[int]:
        """Where the head and each cluster of the output layer end; the last number is ``vocab_size``.

        A cutoff that leaves nothing on one of its sides is left out: a vocabulary of a few words has one softmax.
        """
        cuts = {round(share * vocab_size) for share in self.cutoffs}
        return [*sorted(cut for cut in cuts if 0 < cut < vocab_size), vocab_size]

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.embedding_dim < 1:
            found.append(f"embedding_dim: must be at least 1 (got {self.embedding_dim}); try 200")
        if not self.hidden_dims or any(dim < 1 for dim in self.hidden_dims):
            found.append(
                "hidden_dims: needs one width of at least 1 for each layer "
                f"(got {list(self.hidden_dims)}); try [200,200]"
            )
        elif self.tie_weights and self.hidden_dims[-1] != self.embedding_dim:
            found.append(
                f"tie_weights: needs embedding_dim == last of hidden_dims (got {self.embedding_dim}, "
                f"{self.hidden_dims[-1]}); make them equal or set model.tie_weights=false"
            )
        for name in ("embedding", "input", "hidden", "output", "weight"):
            value = getattr(self, f"{name}_dropout")
            if not 0.0 <= value < 1.0:
                found.append(f"{name}_dropout: must be in [0, 1) (got {value}); 0 switches it off")
        shares = [0.0, *self.cutoffs, 1.0]
        if not all(low < high for low, high in pairwise(shares)):
            found.append(
                "cutoffs: needs rising shares of the vocabulary between 0 and 1 "
                f"(got {list(self.cutoffs)}); try [0.06,0.3], or [] for one softmax over all words"
            )
        return found


@dataclass
class LossConfig:
    """The training loss. Evaluation always uses the network's exact distribution over the whole vocabulary.

    Attributes:
        name: ``full_softmax``; ``sampled_softmax``; ``adaptive_softmax``, for a network with
            ``ModelConfig.cutoffs``, which is exact too.
        chunk_tokens: Tokens whose logits exist at one time; bounds the memory.
        num_frequent: Sampled softmax: the most frequent words, which are always in.
        num_sampled: Sampled softmax: words drawn from the rest for each step.
        activation_reg: Weight of the L2 penalty on dropped-out activations (AR, Merity et al. 2017 §4.6).
        temporal_activation_reg: Weight of the L2 penalty on their change from step to step (TAR, the same).
    """

    name: str = "full_softmax"
    chunk_tokens: int = 512
    num_frequent: int = 1000
    num_sampled: int = 1024
    activation_reg: float = 0.0
    temporal_activation_reg: float = 0.0

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.name not in LOSS_NAMES:
            found.append(f"name: unknown loss (got {self.name!r}); use one of {', '.join(LOSS_NAMES)}")
        for name in ("chunk_tokens", "num_frequent", "num_sampled"):
            if getattr(self, name) < 1:
                found.append(f"{name}: must be at least 1 (got {getattr(self, name)})")
        for name in ("activation_reg", "temporal_activation_reg"):
            if getattr(self, name) < 0.0:
                found.append(f"{name}: must not be negative (got {getattr(self, name)}); 0 switches it off")
        return found
