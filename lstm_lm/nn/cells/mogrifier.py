"""Mogrifier LSTM: input and hidden state gate each other in rounds before every step of an LSTM.

Melis, Kočiský and Blunsom 2020, "Mogrifier LSTM".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from lstm_lm.nn.cells.base import Cell, LayerState, LayerWeights, StepProduct, compute_dtype
from lstm_lm.nn.cells.lstm import lstm_step
from lstm_lm.settings import Settings, setting

if TYPE_CHECKING:
    from lstm_lm.nn.graph_builder import GraphBuilder

T = TypeVar("T")


@dataclass
class MogrifierOptions(Settings):
    """The options of the mogrifier cell."""

    rounds: int = setting(
        5,
        ge=0,
        le=100,
        special={0: "an LSTM"},
        help="Rounds of gating: odd ones gate the input, even ones the hidden state.",
    )
    rank: int = setting(
        0, ge=0, special={0: "full rank"}, help="Rank of the gating matrices, each then a product of two."
    )


class Mogrifier(Cell):
    """An LSTM with rounds ``x = 2 sigmoid(Q h) * x`` and ``h = 2 sigmoid(R x) * h``, in turn, before every step.

    The rows of the LSTM's weights are in the order i, f, o, g.
    """

    Options = MogrifierOptions
    options: MogrifierOptions

    def __init__(self, input_dim: int, hidden_dim: int, weight_dropout: float, options: MogrifierOptions) -> None:
        super().__init__(input_dim, hidden_dim, weight_dropout, options)
        self.weight_input = self.parameter(4 * hidden_dim, input_dim)
        self.weight_hidden = self.parameter(4 * hidden_dim, hidden_dim)
        self.bias = self.parameter(4 * hidden_dim)
        self.gating = nn.ParameterList()
        for number in range(options.rounds):
            gated, gating = (input_dim, hidden_dim) if number % 2 == 0 else (hidden_dim, input_dim)
            shapes = [(options.rank, gating), (gated, options.rank)] if options.rank else [(gated, gating)]
            self.gating.extend(self.parameter(*shape) for shape in shapes)

    @override
    def forward(self, features: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        dtype = compute_dtype(features)
        batch_size, steps, _ = features.shape
        with torch.autocast(features.device.type, enabled=False):
            weight = torch.cat([self.weight_input.to(dtype), self.dropped(self.weight_hidden.to(dtype))], dim=1)
            lstm = StepProduct(weight, self.bias.to(dtype).expand(steps, batch_size, -1))
            matrices = [matrix.to(dtype) for matrix in self.gating]
            products = [StepProduct(one, one.new_zeros(steps, batch_size, len(one))) for one in matrices]
            hidden, cell = (tensor.squeeze(0).float() for tensor in state)
            sizes = [3 * self.hidden_dim, self.hidden_dim]
            outputs = []
            for step, gated_input in enumerate(features.float().unbind(dim=1)):
                pair = [gated_input, hidden]
                for number, parts in enumerate(_by_round(products, self.options)):
                    gate = pair[1 - number % 2]
                    for part in parts:
                        gate = part(step, gate)
                    pair[number % 2] = 2.0 * torch.sigmoid(gate.float()) * pair[number % 2]
                gates = lstm(step, torch.cat(pair, dim=1)).float()
                sigmoid_gates, candidate = torch.split(gates, sizes, dim=1)
                i, f, o = torch.sigmoid(sigmoid_gates).chunk(3, dim=1)
                cell = torch.addcmul(f * cell, i, torch.tanh(candidate))
                hidden = o * torch.tanh(cell)
                outputs.append(hidden)
        return torch.stack(outputs, dim=1), (hidden.unsqueeze(0), cell.unsqueeze(0))

    @override
    @classmethod
    def onnx_nodes(
        cls,
        graph: "GraphBuilder",
        weights: LayerWeights,
        features: str,
        state: Sequence[str],
        options: MogrifierOptions,
    ) -> tuple[str, list[str]]:
        matrices = [weights[f"gating.{index}"] for index in range(options.rounds * (2 if options.rank else 1))]

        def step(body: "GraphBuilder", before: Sequence[str], now: str) -> list[str]:
            hidden, cell = before
            pair = [now, hidden]
            two = body.constant("two", np.array(2.0, np.float32))
            for number, parts in enumerate(_by_round(list(enumerate(matrices)), options)):
                gate = pair[1 - number % 2]
                for index, matrix in parts:
                    gate = body.linear(f"gating.{index}", gate, matrix)
                pair[number % 2] = body.op("Mul", body.op("Mul", two, body.op("Sigmoid", gate)), pair[number % 2])
            gates = body.linear("input", pair[0], weights["weight_input"], weights["bias"])
            return lstm_step(body, weights["weight_hidden"], [pair[1], cell], gates)

        return graph.scan(step, state, features)


def _by_round(matrices: Sequence[T], options: MogrifierOptions) -> Iterator[Sequence[T]]:
    """The matrices of each round, in the order in which they are multiplied."""
    size = 2 if options.rank else 1
    return (matrices[start : start + size] for start in range(0, len(matrices), size))
