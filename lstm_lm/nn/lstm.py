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
            The hidden state after every step (B, T, hidden_dim), and the last hidden and cell state.
        """
        hidden, cell = state
        if features.device.type == "cuda":
            # autocast would run cuDNN's LSTM in float16 whatever its own format, and cast and copy every weight again
            dtype = compute_dtype(features.device, self._parameter_dtype)
            with torch.autocast("cuda", enabled=False):
                weights = self.window_weights(dtype)
                return self.read(features.to(dtype), (hidden.to(dtype), cell.to(dtype)), weights)
        return self.read(features, state, self._weights(self._parameter_dtype))

    def window_weights(self, dtype: torch.dtype) -> list[Tensor]:
        """The weights of this window in ``dtype``, dropped out in training, laid out as cuDNN reads them."""
        weights = self._weights(dtype)
        return in_one_buffer(weights) if self.training else weights

    @property
    def _parameter_dtype(self) -> torch.dtype:
        bias = self.bias_ih_l0
        assert isinstance(bias, Tensor)
        return bias.dtype

    def _weights(self, dtype: torch.dtype) -> list[Tensor]:
        """The weights of this window in ``dtype``: input, recurrent (dropped out in training), and both biases."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        inputs, recurrent, *biases = (getattr(self, name).to(dtype) for name in names)
        if self.training and self.weight_dropout > 0.0:
            recurrent = recurrent * dropout_mask(recurrent.shape, self.weight_dropout, recurrent)
        return [inputs, recurrent, *biases]

    def read(
        self, features: Tensor, state: tuple[Tensor, Tensor], weights: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As :meth:`forward`, with the weights given."""
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
    """The same weights as views of one buffer, one after the other: the layout that cuDNN reads without a copy."""
    parts = torch.split(torch.cat([weight.flatten() for weight in weights]), [weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def compute_dtype(device: torch.device, parameter_dtype: torch.dtype) -> torch.dtype:
    """The number format that products run in on ``device``: autocast's where it is on, else that of the parameters."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else parameter_dtype
