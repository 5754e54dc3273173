"""State of the recurrent layers between windows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LSTMState:
    """State of every layer; immutable.

    Attributes:
        layers: For each layer the tensors of its cell's state, hidden and cell state of an LSTM, each (1, B, H of that
            layer): layers may differ in width.
    """

    layers: tuple[tuple[Tensor, ...], ...]

    def detach(self) -> "LSTMState":
        """The same state detached from the graph: truncated backpropagation stops here."""
        return self.map(Tensor.detach)

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors of all layers in turn."""
        return tuple(tensor for layer in self.layers for tensor in layer)

    @classmethod
    def from_tensors(cls, tensors: Sequence[Tensor], num_layers: int) -> "LSTMState":
        """The state whose :meth:`tensors` are these."""
        size = len(tensors) // num_layers
        return cls(tuple(tuple(tensors[start : start + size]) for start in range(0, len(tensors), size)))

    def by_name(self, names: Sequence[str]) -> dict[str, list[Tensor]]:
        """The tensors of all layers by ``state_names`` of their cell, as checkpoints store them."""
        return {name: [layer[index] for layer in self.layers] for index, name in enumerate(names)}

    @classmethod
    def from_names(cls, tensors: Mapping[str, Sequence[Tensor]], names: Sequence[str]) -> "LSTMState":
        """The state whose :meth:`by_name` is this."""
        return cls(tuple(zip(*(tensors[name] for name in names), strict=True)))

    def map(self, function: Callable[[Tensor], Tensor]) -> "LSTMState":
        """The state with ``function`` applied to each tensor."""
        return LSTMState(tuple(tuple(function(tensor) for tensor in layer) for layer in self.layers))

    def to(self, device: torch.device) -> "LSTMState":
        """The same state on another device."""
        return self.map(lambda tensor: tensor.to(device))

    @property
    def batch_size(self) -> int:
        """Number of streams B."""
        return self.layers[0][0].shape[1]
