"""LSTM with coupled input and forget gates: three quarters of the weights of an LSTM of the same width.

CIFG of Greff et al. 2017, "LSTM: A Search Space Odyssey"; Hard et al. 2018, "Federated Learning for Mobile Keyboard
Prediction", use it in a keyboard.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from lstm_lm.nn.cells.base import Cell, LayerState, LayerWeights, StepProduct, compute_dtype

if TYPE_CHECKING:
    from lstm_lm.nn.graph_builder import GraphBuilder


class CIFG(Cell):
    """An LSTM whose forget gate is ``1 - i``: c' = (1 - i) * c + i * g and h' = o * tanh(c').

    The rows of the weights are in the order i, o, g.
    """

    def __init__(self, input_dim: int, hidden_dim: int, weight_dropout: float, options: Any) -> None:
        super().__init__(input_dim, hidden_dim, weight_dropout, options)
        self.weight_input = self.parameter(3 * hidden_dim, input_dim)
        self.weight_hidden = self.parameter(3 * hidden_dim, hidden_dim)
        self.bias = self.parameter(3 * hidden_dim)

    @override
    def forward(self, features: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        dtype = compute_dtype(features)
        with torch.autocast(features.device.type, enabled=False):
            from_input = F.linear(
                features.transpose(0, 1).to(dtype), self.weight_input.to(dtype), self.bias.to(dtype)
            )  # (T, B, 3H)
            recurrent = StepProduct(self.dropped(self.weight_hidden.to(dtype)), from_input)
            hidden, cell = (tensor.squeeze(0).float() for tensor in state)
            sizes = [2 * self.hidden_dim, self.hidden_dim]
            outputs = []
            for step in range(features.shape[1]):
                gates, candidate = torch.split(recurrent(step, hidden).float(), sizes, dim=1)
                i, o = torch.sigmoid(gates).chunk(2, dim=1)
                cell = torch.lerp(cell, torch.tanh(candidate), i)
                hidden = o * torch.tanh(cell)
                outputs.append(hidden)
        return torch.stack(outputs, dim=1), (hidden.unsqueeze(0), cell.unsqueeze(0))

    @override
    @classmethod
    def onnx_nodes(
        cls, graph: "GraphBuilder", weights: LayerWeights, features: str, state: Sequence[str], options: Any
    ) -> tuple[str, list[str]]:
        weight_input, weight_hidden, bias = (weights[name] for name in ("weight_input", "weight_hidden", "bias"))
        if not graph.int8:
            parts = [_to_iofc(weight) for weight in (weight_input, weight_hidden, bias, np.zeros_like(bias))]
            return graph.lstm(features, state, parts, input_forget=1)
        size = weight_hidden.shape[1]

        def step(body: "GraphBuilder", before: Sequence[str], from_input: str) -> list[str]:
            hidden, cell = before
            gates = body.op("Add", body.linear("recurrent", hidden, weight_hidden), from_input)
            sigmoid_gates, candidate = body.split(gates, 2 * size, size)
            i, o = body.split(body.op("Sigmoid", sigmoid_gates), size, size)
            change = body.op("Mul", i, body.op("Sub", body.op("Tanh", candidate), cell))
            cell_after = body.op("Add", cell, change)
            return [body.op("Mul", o, body.op("Tanh", cell_after)), cell_after]

        return graph.scan(step, state, graph.linear("input", features, weight_input, bias))


def _to_iofc(weight: Any) -> Any:
    """The gate rows in ONNX's order i, o, f, c; with ``input_forget`` the rows of f are not used."""
    i, o, g = np.split(weight, 3)
    return np.concatenate([i, o, np.zeros_like(i), g])
