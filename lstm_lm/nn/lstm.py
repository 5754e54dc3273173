"""An LSTM layer with DropConnect on its recurrent weights."""

import torch
from torch import Tensor, nn

from lstm_lm.nn.dropout import dropout_mask


class WeightDropLSTM(nn.LSTM):
    """One batch-first LSTM layer with one DropConnect mask per window on its hidden-to-hidden weights.

    Weights are dropped before the window (Merity et al. 2017 §2), so that the fused LSTM kernel can run over it.

    Args:
        input_dim: Width of the input.
        hidden_dim: Width of the state.
        weight_dropout: Fraction of the recurrent weights that is set to zero in training.
    """

    def __init__(self, input_dim: int, hidden_dim: int, weight_dropout: float = 0.0) -> None:
        super().__init__(input_dim, hidden_dim, batch_first=True)
        self.weight_dropout = weight_dropout

    def forward(  # type: ignore[override]
        self, features: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run the layer over a window.

        Args:
            features: (B, T, input_dim).
            state: Hidden and cell state, each (1, B, hidden_dim). Not modified.

        Returns:
            The hidden state after every step (B, T, hidden_dim), and the last hidden and cell state. On a GPU their
            dtype is that of autocast, if it is enabled.
        """
        dtype = next(self.parameters()).dtype
        if features.device.type != "cuda":
            return self._run(features, state, self._window_weights(dtype))
        if torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda")
        # autocast runs cuDNN's LSTM in float16, whatever its dtype is, and copies all weights again
        with torch.autocast("cuda", enabled=False):
            weights = self._window_weights(dtype)
            if self.training:
                weights = in_one_buffer(weights)
            hidden, cell = state
            return self._run(features.to(dtype), (hidden.to(dtype), cell.to(dtype)), weights)

    def _window_weights(self, dtype: torch.dtype) -> list[Tensor]:
        """Input and recurrent weights and both biases in ``dtype``; in training with DropConnect."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        inputs, recurrent, *biases = (getattr(self, name).to(dtype) for name in names)
        if self.training and self.weight_dropout > 0.0:
            recurrent = recurrent * dropout_mask(recurrent.shape, self.weight_dropout, recurrent)
        return [inputs, recurrent, *biases]

    def _run(
        self, features: Tensor, state: tuple[Tensor, Tensor], weights: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
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


def in_one_buffer(weights: list[Tensor]) -> list[Tensor]:
    """The weights as views of one contiguous buffer, the layout that cuDNN reads without a copy."""
    parts = torch.split(torch.cat([weight.flatten() for weight in weights]), [weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
