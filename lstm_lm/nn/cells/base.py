"""The base class of a recurrent cell, and the product with a matrix at every step of a window."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lstm_lm.nn.dropout import dropout_mask
from lstm_lm.settings import Settings

if TYPE_CHECKING:
    from lstm_lm.nn.graph_builder import GraphBuilder

LayerState: TypeAlias = tuple[Tensor, ...]
"""State of one layer: tensors (1, B, H)."""
LayerWeights: TypeAlias = Mapping[str, NDArray[np.float32]]


@dataclass
class NoOptions(Settings):
    """The options of a cell that has none."""


class Cell(nn.Module):
    """One recurrent layer, batch first. A subclass adds its weights and :meth:`forward`.

    Args:
        input_dim: Width of the input E.
        hidden_dim: Width of the output and of every tensor of the state H.
        weight_dropout: Fraction of the recurrent weights that :meth:`dropped` sets to zero in training.
        options: An instance of ``Options``.
    """

    Options: ClassVar[type[Settings]] = NoOptions
    """Dataclass of the cell's own settings, ``model.cell_options``."""
    state_names: ClassVar[tuple[str, ...]] = ("hidden", "cell")
    """Names of the state's tensors, for checkpoints and ONNX graphs; the first is the output of the last step."""

    def __init__(self, input_dim: int, hidden_dim: int, weight_dropout: float, options: Any) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.hidden_dim = hidden_dim
        self.weight_dropout = weight_dropout
        self.options = options

    def forward(self, features: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run the layer over a window.

        Args:
            features: (B, T, E).
            state: One tensor (1, B, H) per name in ``state_names``. Not modified.

        Returns:
            Features (B, T, H) and the state after step T, both attached to the graph.
        """
        raise NotImplementedError

    @classmethod
    def onnx_nodes(
        cls, graph: "GraphBuilder", weights: LayerWeights, features: str, state: Sequence[str], options: Any
    ) -> tuple[str, list[str]]:
        """Add the layer to an ONNX graph. A cell without this method is exported without graphs and needs torch.

        Args:
            graph: Has a prefix of its own for every layer.
            weights: The layer's ``state_dict``.
            features: Name of the input, (T, B, E).
            state: Names of the state's tensors, (B, H).
            options: An instance of ``Options``.

        Returns:
            Names of the features (T, B, H) and of the state after step T.
        """
        raise NotImplementedError

    @classmethod
    def has_onnx_nodes(cls) -> bool:
        """Whether the cell overrides :meth:`onnx_nodes`."""
        return cls.onnx_nodes.__func__ is not Cell.onnx_nodes.__func__  # type: ignore[attr-defined]

    def parameter(self, *shape: int) -> nn.Parameter:
        """A weight that is initialized as in ``torch.nn.LSTM``: uniform in ±1 / sqrt(H)."""
        return nn.Parameter(torch.empty(shape).uniform_(-(self.hidden_dim**-0.5), self.hidden_dim**-0.5))

    def dropped(self, recurrent: Tensor) -> Tensor:
        """DropConnect (Merity et al. 2017 §2): in training, ``recurrent`` with one mask per window."""
        if not self.training or self.weight_dropout == 0.0:
            return recurrent
        return recurrent * dropout_mask(recurrent.shape, self.weight_dropout, recurrent)

    def extra_repr(self) -> str:
        """Text for ``print(model)``."""
        return f"{self.input_dim}, {self.hidden_dim}"


def compute_dtype(features: Tensor) -> torch.dtype:
    """The dtype of matrix products: that of autocast if it is enabled, otherwise that of ``features``."""
    device = features.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype


class StepProduct:
    """The product with one matrix at every step of a window: ``offset[t] + input W^T``.

    Autograd alone would add the gradient of ``weight`` up step by step, which reads and writes a whole matrix T times.
    Here the inputs of all steps are kept, and the gradient is one product over the window.

    Args:
        weight: (N, K), in the dtype to compute in. Use the product outside autocast.
        offset: What is added, (T, B, N), in the same dtype.
    """

    def __init__(self, weight: Tensor, offset: Tensor) -> None:
        steps, batch_size, _ = offset.shape
        kept = steps if weight.requires_grad and torch.is_grad_enabled() else 0
        self._inputs = weight.new_empty(kept, batch_size, weight.shape[1])
        self._offsets = _WeightGradient.apply(weight, offset, self._inputs).unbind()  # type: ignore[no-untyped-call]
        self._transposed = weight.detach().t()

    def __call__(self, step: int, features: Tensor) -> Tensor:
        """The product (B, N) of step ``step`` with ``features`` (B, K), in the dtype of the matrix."""
        features = features.to(self._transposed.dtype)
        if len(self._inputs):
            self._inputs[step] = features.detach()
        return torch.addmm(self._offsets[step], features, self._transposed)


class _WeightGradient(torch.autograd.Function):
    """Passes the offsets of a :class:`StepProduct` on; the gradient of the weight follows from theirs."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        weight: Tensor,  # noqa: ARG004  backward returns its gradient
        offset: Tensor,
        inputs: Tensor,
    ) -> Tensor:
        ctx.inputs = inputs  # type: ignore[attr-defined]  # filled by the steps, so it cannot be saved here
        return offset.view_as(offset)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        inputs: Tensor = ctx.inputs  # type: ignore[attr-defined]
        return gradient.flatten(0, 1).t() @ inputs.flatten(0, 1), gradient, None
