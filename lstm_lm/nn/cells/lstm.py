"""The LSTM, with the fused kernels of torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from lstm_lm.nn.cells.base import Cell, LayerState, LayerWeights

if TYPE_CHECKING:
    from lstm_lm.nn.graph_builder import GraphBuilder


class LSTM(Cell):
    """``torch.nn.LSTM`` with DropConnect; DropConnect is applied before the window, so that the fused kernel can run.

    Weights have the names and the order of gates (i, f, g, o) of ``torch.nn.LSTM``.
    """

    def __init__(self, input_dim: int, hidden_dim: int, weight_dropout: float, options: Any) -> None:
        super().__init__(input_dim, hidden_dim, weight_dropout, options)
        self.weight_ih_l0 = self.parameter(4 * hidden_dim, input_dim)
        self.weight_hh_l0 = self.parameter(4 * hidden_dim, hidden_dim)
        self.bias_ih_l0 = self.parameter(4 * hidden_dim)
        self.bias_hh_l0 = self.parameter(4 * hidden_dim)

    @override
    def forward(self, features: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        # on a GPU, the dtype of the output is that of autocast, if it is enabled
        dtype = self.weight_ih_l0.dtype
        if features.device.type != "cuda":
            return self._run(features, state, self._window_weights(dtype))
        if torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda")
        # autocast runs cuDNN's LSTM in float16, whatever its dtype is, and copies all weights again
        with torch.autocast("cuda", enabled=False):
            weights = in_one_buffer(self._window_weights(dtype))
            return self._run(features.to(dtype), tuple(tensor.to(dtype) for tensor in state), weights)

    def _window_weights(self, dtype: torch.dtype) -> list[Tensor]:
        """Input and recurrent weights and both biases in ``dtype``; in training with DropConnect."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        inputs, recurrent, *biases = (getattr(self, name).to(dtype) for name in names)
        return [inputs, self.dropped(recurrent), *biases]

    def _run(self, features: Tensor, state: LayerState, weights: list[Tensor]) -> tuple[Tensor, LayerState]:
        output, hidden, cell = torch.lstm(
            features,
            state,
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),  # keeps what the backward pass needs
            bidirectional=False,
            batch_first=True,
        )
        return output, (hidden, cell)

    @override
    @classmethod
    def onnx_nodes(
        cls, graph: "GraphBuilder", weights: LayerWeights, features: str, state: Sequence[str], options: Any
    ) -> tuple[str, list[str]]:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        if not graph.int8:
            return graph.lstm(features, state, [_to_iofc(weights[name]) for name in names])
        inputs, recurrent, *biases = (_to_ifog(weights[name]) for name in names)
        gates = graph.linear("input", features, inputs, biases[0] + biases[1])
        return graph.scan(lambda body, before, now: lstm_step(body, recurrent, before, now), state, gates)


def lstm_step(graph: "GraphBuilder", recurrent: NDArray[np.float32], state: Sequence[str], gates: str) -> list[str]:
    """Add one step of an LSTM to a graph; the gates are in the order i, f, o, g.

    Args:
        graph: The graph.
        recurrent: Hidden-to-hidden weights (4H, H).
        state: Hidden and cell state before the step (B, H).
        gates: What the input adds to the gates (B, 4H).

    Returns:
        Names of the hidden and the cell state after the step.
    """
    hidden, cell = state
    size = recurrent.shape[1]
    gates = graph.op("Add", graph.linear("recurrent", hidden, recurrent), gates)
    sigmoid_gates, candidate = graph.split(gates, 3 * size, size)
    i, f, o = graph.split(graph.op("Sigmoid", sigmoid_gates), size, size, size)
    kept = graph.op("Mul", f, cell)
    cell_after = graph.op("Add", kept, graph.op("Mul", i, graph.op("Tanh", candidate)))
    return [graph.op("Mul", o, graph.op("Tanh", cell_after)), cell_after]


def in_one_buffer(weights: list[Tensor]) -> list[Tensor]:
    """The weights as views of one contiguous buffer, the layout that cuDNN reads without a copy."""
    parts = torch.split(torch.cat([weight.flatten() for weight in weights]), [weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def _to_iofc(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the gate rows from torch's i, f, g, o to ONNX's i, o, f, c (c is torch's g)."""
    i, f, g, o = np.split(weight, 4)
    return np.concatenate([i, o, f, g])


def _to_ifog(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the gate rows from i, f, g, o to i, f, o, g: one sigmoid for the first three, one tanh for the last."""
    i, f, g, o = np.split(weight, 4)
    return np.concatenate([i, f, o, g])
