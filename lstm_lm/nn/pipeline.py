"""LSTM layers side by side on a GPU.

One layer leaves most of a GPU idle, and it needs the input of a step only when it comes to that step. So a window is
cut into chunks of time, and while a layer reads a chunk, the layer above reads the one before it on another stream. The
result is that of reading the whole window layer by layer. Autograd computes the gradients on the same streams.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lstm_lm.nn.lstm import WeightDropLSTM
from lstm_lm.nn.state import LSTMState


class LayerPipeline:
    """Runs a stack of layers over a window in chunks.

    Args:
        num_chunks: Chunks of a window.
    """

    def __init__(self, num_chunks: int) -> None:
        self.num_chunks = num_chunks
        self._streams: list[Any] = []  # torch.cuda.Stream

    def run(
        self,
        layers: Sequence[WeightDropLSTM],
        weights: Sequence[list[Tensor]],
        dropout_masks: Sequence[Tensor | None],
        features: Tensor,
        state: LSTMState,
    ) -> tuple[Tensor, LSTMState]:
        """Read a window.

        Args:
            layers: From the first to the last.
            weights: Those of each layer for this window; see ``WeightDropLSTM.window_weights``.
            dropout_masks: What the input of each layer is multiplied by, (B, 1, width).
            features: Input of the first layer (B, T, width), in the format of the weights.
            state: State after the previous window.

        Returns:
            Output of the last layer (B, T, H), and the state after step T.
        """
        on_gpu = features.device.type == "cuda"
        if on_gpu and not self._streams:
            self._streams = [torch.cuda.Stream(features.device) for _ in layers]  # type: ignore[no-untyped-call]
        parts = list(torch.chunk(features, self.num_chunks, dim=1))
        ready: list[Any] = [None] * len(parts)
        hidden, cell = [], []
        for depth, layer in enumerate(layers):
            with self._stream(depth, on_gpu) as stream:
                layer_state = state.hidden[depth].to(features.dtype), state.cell[depth].to(features.dtype)
                for index, part in enumerate(parts):
                    if ready[index] is not None:
                        stream.wait_event(ready[index])
                        part.record_stream(stream)
                    mask = dropout_masks[depth]
                    masked = part if mask is None else part * mask
                    parts[index], layer_state = layer.read(masked, layer_state, weights[depth])
                    ready[index] = None if stream is None else stream.record_event()
                hidden.append(layer_state[0])
                cell.append(layer_state[1])
        if on_gpu:
            current = torch.cuda.current_stream(features.device)
            for stream in self._streams:
                current.wait_stream(stream)
            for tensor in (*parts, *hidden, *cell):
                tensor.record_stream(current)
        return torch.cat(parts, dim=1), LSTMState(tuple(hidden), tuple(cell))

    @contextmanager
    def _stream(self, depth: int, on_gpu: bool) -> Iterator[Any]:
        """The stream of a layer as the current one, after everything that was asked for before; ``None`` on a CPU."""
        if not on_gpu:
            yield None
            return
        stream = self._streams[depth]
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            yield stream
