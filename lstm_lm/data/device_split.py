"""A split stored on the device that reads it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.data.encoding import Ids


class DeviceSplit:
    """Streams of a split that are stored on a device and cut into windows there, so that a step copies no data to it.

    Only the words of these streams are stored: of several processes, each holds its own part of the split. Where an
    epoch starts at another position, that part is copied to the device again.

    Args:
        ids: The split, shape (n,).
        stream_starts: Position of the first target of every stream (B,), ascending.
        stream_length: Targets of each stream.
        eos_id: The word before the first.
        device: Stores the words, with four bytes each.
    """

    def __init__(
        self, ids: Ids, stream_starts: NDArray[np.int64], stream_length: int, eos_id: int, device: torch.device
    ) -> None:
        self._ids = ids
        self._eos_id = eos_id
        self._device = device
        self._first = int(stream_starts[0])
        self._num_words = min(int(stream_starts[-1]) - self._first + stream_length, len(ids))
        self._starts = torch.from_numpy(stream_starts - self._first).to(device).unsqueeze(1)
        self._offset: int | None = None

    def window(self, begin: int, end: int, offset: int = 0) -> tuple[Tensor, Tensor]:
        """Inputs and targets of steps [begin, end) of every stream, (B, end - begin) each.

        Args:
            begin: First step.
            end: Step after the last one.
            offset: Position in the split at which the first stream starts; positions wrap around at its end.
        """
        if offset != self._offset:
            self._store(offset)
        positions = self._starts + torch.arange(begin, end, device=self._device)
        # past the end of a last stream that is shorter: masked by the caller
        positions = positions.clamp(max=self._num_words - 1)
        is_first = positions == (-self._first - offset) % len(self._ids)
        input_ids = torch.where(is_first, self._eos_id, self._words[positions]).long()
        return input_ids, self._words[positions + 1].long()

    def _store(self, offset: int) -> None:
        """Copy the words of the streams to the device, and the word before them."""
        begin = (self._first + offset - 1) % len(self._ids)
        end = begin + self._num_words + 1
        parts = [self._ids[begin:end], self._ids[: max(end - len(self._ids), 0)]]
        self._words = torch.from_numpy(np.concatenate(parts)).to(self._device)
        self._offset = offset
