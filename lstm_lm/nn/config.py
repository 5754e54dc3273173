"""Config of the network and of its training loss.

The same classes are Hydra's schema, constructor arguments and the metadata of a bundle. They do not import torch.
"""

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from lstm_lm.nn.cells import DEFAULT_CELL, cell_options, import_cell, name_problem
from lstm_lm.settings import Settings, setting

LOSS_NAMES = ("full_softmax", "sampled_softmax", "adaptive_softmax")
_OFF = {0: "off"}


@dataclass
class ModelConfig(Settings):
    """An embedding, recurrent layers and an output layer.

    After Merity et al. 2017, "Regularizing and Optimizing LSTM Language Models"; the sections below are of that paper.
    """

    embedding_dim: int = setting(200, ge=1, help="Width of a word's vector.")
    hidden_dims: list[int] = setting([200, 200], ge=1, help="Width of each layer, from first to last.")
    tie_weights: bool = setting(
        True, help="Share the weights of embedding and output layer (Inan et al. 2016; Press & Wolf 2016)."
    )
    embedding_dropout: float = setting(
        0.0,
        ge=0,
        lt=1,
        special=_OFF,
        help="Probability that a word of the vocabulary is dropped for a whole window (section 4.3).",
    )
    input_dropout: float = setting(
        0.0, ge=0, lt=1, special=_OFF, help="Locked dropout between embedding and first layer (section 4.2)."
    )
    hidden_dropout: float = setting(0.0, ge=0, lt=1, special=_OFF, help="Locked dropout between layers.")
    output_dropout: float = setting(0.0, ge=0, lt=1, special=_OFF, help="Locked dropout after the last layer.")
    weight_dropout: float = setting(
        0.0, ge=0, lt=1, special=_OFF, help="DropConnect on the hidden-to-hidden weights (section 2)."
    )
    cutoffs: list[float] = setting(
        [],
        gt=0,
        lt=1,
        remedy="try [0.06,0.3], or [] for one softmax over all words",
        help="Adaptive softmax: where the vocabulary, sorted by descending frequency, is split into a head and "
        "clusters, as shares of its size; empty means one softmax over all words.",
    )
    cell: str = setting(
        DEFAULT_CELL,
        help="The recurrent cell: lstm, cifg, mogrifier, or a class of your own as mymodule:MyCell.",
    )
    cell_options: dict[str, Any] = setting(
        {}, help="Settings of the cell, which cell=NAME lists; those that are not given have their defaults."
    )

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

    def conflicts(self) -> list[str]:
        """An unknown cell, widths that do not fit and cutoffs that do not increase.

        The options of the cell are checked by :meth:`cell_problems`, which needs torch, and by the network.
        """
        problems = []
        if problem := name_problem(self.cell):
            problems.append(problem)
        if not self.hidden_dims:
            problems.append("hidden_dims: needs one width per layer (got []); try [200,200]")
        elif self.tie_weights and self.hidden_dims[-1] != self.embedding_dim:
            problems.append(
                f"tie_weights: needs embedding_dim == last of hidden_dims (got {self.embedding_dim}, "
                f"{self.hidden_dims[-1]}); make them equal or set model.tie_weights=false"
            )
        shares = [0.0, *self.cutoffs, 1.0]
        if not all(low < high for low, high in pairwise(shares)):
            problems.append(
                f"cutoffs: needs increasing shares of the vocabulary (got {list(self.cutoffs)}); try [0.06,0.3], or [] "
                "for one softmax over all words"
            )
        return problems

    def with_all_options(self) -> "ModelConfig":
        """The same config with the default of every option that is not given, as artifacts record it.

        Raises:
            ValueError: If the cell or its options are wrong.
        """
        return replace(self, cell_options=asdict(cell_options(self.cell, self.cell_options)))  # type: ignore[call-overload]

    def cell_problems(self) -> list[str]:
        """What is wrong with the cell and its options. Imports the cell: for a config that the user wrote."""
        if name_problem(self.cell) or (self.cell == DEFAULT_CELL and not self.cell_options):
            return []
        module, colon, _ = self.cell.partition(":")
        if colon:
            try:
                import_cell(module)
            except ValueError as error:
                return [f"cell: {error} (got {self.cell})"]
        try:
            cell_options(self.cell, self.cell_options)
        except ValueError as error:
            return [str(error)]
        return []


@dataclass
class LossConfig(Settings):
    """The training loss. Evaluation always uses the exact softmax over the full vocabulary."""

    name: str = setting(
        "full_softmax",
        choices=LOSS_NAMES,
        help="full_softmax and adaptive_softmax, for a network with model.cutoffs, are exact; sampled_softmax is not.",
    )
    chunk_tokens: int = setting(512, ge=1, help="Number of tokens whose logits are in memory at the same time.")
    num_frequent: int = setting(
        1000, ge=1, help="Sampled softmax: the most frequent words, which are always candidates."
    )
    num_sampled: int = setting(
        1024, ge=1, help="Sampled softmax: expected number of candidates drawn from the other words in each step."
    )
    activation_reg: float = setting(
        0.0,
        ge=0,
        special=_OFF,
        help="Weight of the L2 penalty on dropped-out activations (AR, Merity et al. 2017, section 4.6).",
    )
    temporal_activation_reg: float = setting(
        0.0,
        ge=0,
        special=_OFF,
        help="Weight of the L2 penalty on the change of activations between steps (TAR, the same section).",
    )
