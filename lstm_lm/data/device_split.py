"""A split stored on the device that reads it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.data.encoding import Ids


class DeviceSplit:
    """A split that is stored on a device and cut into windows there, so that a step copies no data to it.

    Args:
        ids: The split, shape (n,).
        stream_starts: Position of the first target of every stream (B,).
        eos_id: The word before the first.
        device: Stores the split, with four bytes per word.
    """

    def __init__(self, ids: Ids, stream_starts: NDArray[np.int64], eos_id: int, device: torch.device) -> None:
        self._size = len(ids)
        self._words = torch.from_numpy(np.concatenate([np.asarray([eos_id], dtype=np.int32), ids])).to(device)
        self._starts = torch.from_numpy(stream_starts).to(device).unsqueeze(1)

    def window(self, begin: int, end: int, offset: int = 0) -> tuple[Tensor, Tensor]:
        """Inputs and targets of steps [begin, end) of every stream, (B, end - begin) each.

        Args:
            begin: First step.
            end: Step after the last one.
            offset: Position in the split at which the first stream starts; positions wrap around at its end.
        """
        steps = torch.arange(begin + offset, end + offset, device=self._words.device)
        positions = (self._starts + steps) % self._size
        return self._words[positions].long(), self._words[positions + 1].long()
