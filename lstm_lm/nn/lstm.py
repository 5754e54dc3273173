"""An LSTM layer with DropConnect on its recurrent weights."""

from typing import Any

import torch
from torch import Tensor, nn

from lstm_lm.nn.dropout import dropout_mask


class WeightDropLSTM(nn.LSTM):
    """One batch-first LSTM layer whose hidden-to-hidden weights are dropped once a window (Merity et al. 2017 §2).

    Dropping weights rather than states keeps the fused LSTM kernel: the mask is applied before the window, not
    inside it.

    Args:
        input_dim: Width of the input.
        hidden_dim: Width of the state.
        weight_dropout: Share of the recurrent weights that is set to zero in training.
    """

    def __init__(self, input_dim: int, hidden_dim: int, weight_dropout: float = 0.0) -> None:
        super().__init__(input_dim, hidden_dim, batch_first=True)
        self.weight_dropout = weight_dropout

    def forward(  # type: ignore[override]
        self, features: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read a window.

        Args:
            features: (B, T, input_dim).
            state: Hidden and cell state, each (1, B, hidden_dim). Not modified.

        Returns:
            The hidden state after every step (B, T, hidden_dim), and the last hidden and cell state.
        """
        recurrent = self.weight_hh_l0
        assert isinstance(recurrent, Tensor)
        if self.training and self.weight_dropout > 0.0:
            recurrent = recurrent * dropout_mask(recurrent.shape, self.weight_dropout, recurrent)
        weights: list[Any] = [self.weight_ih_l0, recurrent, self.bias_ih_l0, self.bias_hh_l0]
        output, hidden, cell = torch.lstm(
            features,
            state,
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=self.training,
            bidirectional=False,
            batch_first=True,
        )
        return output, (hidden, cell)
