"""State of an LSTM stack between windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LSTMState:
    """Hidden and cell state of every layer; immutable.

    Attributes:
        hidden: One tensor per layer, (1, B, H of that layer): layers may differ in width.
        cell: The same shapes.
    """

    hidden: tuple[Tensor, ...]
    cell: tuple[Tensor, ...]

    def detach(self) -> "LSTMState":
        """The same state detached from the graph: truncated backpropagation stops here."""
        return LSTMState(tuple(h.detach() for h in self.hidden), tuple(c.detach() for c in self.cell))

    def tensors(self) -> tuple[Tensor, ...]:
        """The hidden states of all layers, then their cell states."""
        return (*self.hidden, *self.cell)

    @classmethod
    def from_tensors(cls, tensors: Sequence[Tensor]) -> "LSTMState":
        """The state whose :meth:`tensors` are these."""
        num_layers = len(tensors) // 2
        return cls(tuple(tensors[:num_layers]), tuple(tensors[num_layers:]))

    def to(self, device: torch.device) -> "LSTMState":
        """The same state on another device."""
        return LSTMState(tuple(h.to(device) for h in self.hidden), tuple(c.to(device) for c in self.cell))

    @property
    def batch_size(self) -> int:
        """Number of streams B."""
        return self.hidden[0].shape[1]
