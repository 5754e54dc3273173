"""Config of the network and of its training loss.

The same classes are Hydra's schema, constructor arguments and the metadata of a bundle. They do not import torch.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from lstm_lm.nn.cells import DEFAULT_CELL, cell_options, import_cell, name_problem

LOSS_NAMES = ("full_softmax", "sampled_softmax", "adaptive_softmax")


@dataclass
class ModelConfig:
    """An embedding, a stack of recurrent layers and an output layer (Merity et al. 2017, "Regularizing and Optimizing
    LSTM Language Models").
    """

    embedding_dim: int = 200
    """Width of a word's vector."""
    hidden_dims: list[int] = field(default_factory=lambda: [200, 200])
    """Width of each layer, from first to last."""
    tie_weights: bool = True
    """Share the weights of embedding and output layer (Inan et al. 2016; Press & Wolf 2016)."""
    embedding_dropout: float = 0.0
    """Probability that a word of the vocabulary is dropped for a whole window (§4.3)."""
    input_dropout: float = 0.0
    """Locked dropout between embedding and first layer (§4.2)."""
    hidden_dropout: float = 0.0
    """Locked dropout between layers."""
    output_dropout: float = 0.0
    """Locked dropout after the last layer."""
    weight_dropout: float = 0.0
    """DropConnect on the hidden-to-hidden weights (§2)."""
    cutoffs: list[float] = field(default_factory=list)
    """Adaptive softmax: where the vocabulary, sorted by descending frequency, is split into a head and clusters, as
    shares of its size; empty means one softmax over all words."""
    cell: str = DEFAULT_CELL
    """The recurrent cell: ``lstm``, ``cifg``, ``mogrifier``, or a class of your own as ``mymodule:MyCell``."""
    cell_options: dict[str, Any] = field(default_factory=dict)
    """Settings of the cell; those that are missing have the defaults of its ``Options``."""

    @property
    def num_layers(self) -> int:
        """Number of recurrent layers."""
        return len(self.hidden_dims)

    def cluster_bounds(self, vocab_size: int) -> list[int]:
        """Ends of the head and of each cluster of the output layer; the last number is ``vocab_size``.

        A cutoff with no words on one side is ignored: a vocabulary of a few words may have one softmax only.
        """
        bounds = {round(share * vocab_size) for share in self.cutoffs}
        return [*sorted(bound for bound in bounds if 0 < bound < vocab_size), vocab_size]

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``.

        The options of the cell are checked by :meth:`cell_problems`, which needs torch, and by the network.
        """
        problems = []
        if problem := name_problem(self.cell):
            problems.append(problem)
        if self.embedding_dim < 1:
            problems.append(f"embedding_dim: must be at least 1 (got {self.embedding_dim}); try 200")
        if not self.hidden_dims or any(dim < 1 for dim in self.hidden_dims):
            problems.append(
                f"hidden_dims: needs one width of at least 1 per layer (got {list(self.hidden_dims)}); try [200,200]"
            )
        elif self.tie_weights and self.hidden_dims[-1] != self.embedding_dim:
            problems.append(
                f"tie_weights: needs embedding_dim == last of hidden_dims (got {self.embedding_dim}, "
                f"{self.hidden_dims[-1]}); make them equal or set model.tie_weights=false"
            )
        for name in ("embedding", "input", "hidden", "output", "weight"):
            value = getattr(self, f"{name}_dropout")
            if not 0.0 <= value < 1.0:
                problems.append(f"{name}_dropout: must be in [0, 1) (got {value}); 0 switches it off")
        shares = [0.0, *self.cutoffs, 1.0]
        if not all(low < high for low, high in pairwise(shares)):
            problems.append(
                "cutoffs: needs increasing shares of the vocabulary between 0 and 1 "
                f"(got {list(self.cutoffs)}); try [0.06,0.3], or [] for one softmax over all words"
            )
        return problems

    def cell_problems(self) -> list[str]:
        """What is wrong with the cell and its options. Imports the cell: for a config that the user wrote."""
        if name_problem(self.cell) or (self.cell == DEFAULT_CELL and not self.cell_options):
            return []
        module, colon, _ = self.cell.partition(":")
        if colon:
            try:
                import_cell(module)
            except ValueError as error:
                return [f"cell: {error}"]
        try:
            cell_options(self.cell, self.cell_options)
        except ValueError as error:
            return [str(error)]
        return []


@dataclass
class LossConfig:
    """The training loss. Evaluation always uses the exact softmax over the full vocabulary."""

    name: str = "full_softmax"
    """``full_softmax``, ``sampled_softmax``, or ``adaptive_softmax`` for a network with ``ModelConfig.cutoffs``; the
    first and the last are exact."""
    chunk_tokens: int = 512
    """Number of tokens whose logits are in memory at the same time."""
    num_frequent: int = 1000
    """Sampled softmax: the most frequent words, which are always candidates."""
    num_sampled: int = 1024
    """Sampled softmax: expected number of candidates drawn from the other words in each step."""
    activation_reg: float = 0.0
    """Weight of the L2 penalty on dropped-out activations (AR, Merity et al. 2017 §4.6)."""
    temporal_activation_reg: float = 0.0
    """Weight of the L2 penalty on the change of activations between steps (TAR, Merity et al. 2017 §4.6)."""

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.name not in LOSS_NAMES:
            problems.append(f"name: unknown loss (got {self.name!r}); use one of {', '.join(LOSS_NAMES)}")
        for name in ("chunk_tokens", "num_frequent", "num_sampled"):
            if getattr(self, name) < 1:
                problems.append(f"{name}: must be at least 1 (got {getattr(self, name)})")
        for name in ("activation_reg", "temporal_activation_reg"):
            if getattr(self, name) < 0.0:
                problems.append(f"{name}: must not be negative (got {getattr(self, name)}); 0 switches it off")
        return problems
