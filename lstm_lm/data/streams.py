"""Windows of a split, for training and evaluation.

A split of n words has n predictions: word i is the target, the word before it is the input, and the first word is
predicted from ``<eos>``. The split is divided into B contiguous streams of L predictions, and a window is a range of
columns of the (B, L) array. With B = 2, ``a b c d e f`` becomes::

    inputs   <eos> a b      targets   a b c     stream 0
               c   d e                d e f     stream 1
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.data.config import BatchingConfig
from lstm_lm.data.device_split import DeviceSplit
from lstm_lm.data.encoding import Ids
from lstm_lm.errors import DataError

# Merity et al. 2017 §4.1 and their code: N(bptt, 5) with probability 0.95, else N(bptt / 2, 5); at least 5
_JITTER_DEVIATION = 5.0
_SHORT_WINDOWS = 0.05
_SHORTEST_WINDOW = 5


@dataclass(frozen=True)
class Window:
    """T steps of B streams.

    Attributes:
        input_ids: Word ids, shape (B, T), int64.
        target_ids: The word after each input, shape (B, T), int64.
        mask: Which targets count, shape (B, T), bool; ``None`` means all.
        starts_stream: Whether this is the first window of its streams: the network starts from the initial state.
    """

    input_ids: Tensor
    target_ids: Tensor
    mask: Tensor | None
    starts_stream: bool

    @property
    def num_tokens(self) -> int:
        """Number of targets that count."""
        return self.target_ids.numel() if self.mask is None else int(self.mask.sum())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Window":
        """The same window on ``device``; Lightning calls this to move a batch."""
        return Window(
            self.input_ids.to(device, non_blocking=non_blocking),
            self.target_ids.to(device, non_blocking=non_blocking),
            None if self.mask is None else self.mask.to(device, non_blocking=non_blocking),
            self.starts_stream,
        )


def target_positions(stream_starts: NDArray[np.int64], begin: int, end: int) -> NDArray[np.int64]:
    """Positions of the targets of steps [begin, end) in every stream, shape (B, end - begin)."""
    return stream_starts[:, None] + np.arange(begin, end, dtype=np.int64)[None, :]


def inputs_and_targets(ids: Ids, positions: NDArray[np.int64], eos_id: int) -> tuple[Tensor, Tensor]:
    """Words before and at ``positions``, each in [0, n); the word before the first is ``eos_id``."""
    target_ids = ids[positions].astype(np.int64)
    input_ids = ids[positions - 1].astype(np.int64)
    input_ids[positions == 0] = eos_id
    return torch.from_numpy(input_ids), torch.from_numpy(target_ids)


def jittered_lengths(stream_length: int, bptt_length: int, seed: int) -> list[int]:
    """Lengths around ``bptt_length`` that add up to ``stream_length`` (Merity et al. 2017 §4.1)."""
    rng = np.random.default_rng(seed)
    shortest = min(_SHORTEST_WINDOW, bptt_length)
    lengths: list[int] = []
    remaining = stream_length
    while remaining > 0:
        mean = bptt_length / 2 if rng.random() < _SHORT_WINDOWS else bptt_length
        length = min(max(shortest, int(rng.normal(mean, _JITTER_DEVIATION))), remaining)
        # a remainder that is too short for its own window extends the last one
        if remaining - length < shortest:
            length = remaining
        lengths.append(length)
        remaining -= length
    return lengths


def even_lengths(stream_length: int, window_length: int) -> list[int]:
    """Lengths of ``window_length`` that add up to ``stream_length``; the last may be shorter."""
    full, remainder = divmod(stream_length, window_length)
    return [window_length] * full + ([remainder] if remainder else [])


class TrainWindows:
    """Training windows, one epoch per iteration; training can stop and resume after any window.

    Every epoch has the same predictions and the same window lengths in an order drawn from (seed, epoch):
    ``random_offset`` starts the split at a random word, ``jitter`` shuffles the lengths. So every epoch has the same
    number of windows, which Lightning needs. Words at the end that do not fill every stream are dropped; with
    ``random_offset`` these words differ between epochs.

    The iteration after a complete one is the next epoch; the iteration after an incomplete one repeats its epoch.

    Args:
        ids: The split, shape (n,).
        batching: Sizes of the batch.
        seed: Seed of the random offset and the jitter.
        eos_id: The word before the first.
        rank: Index of this process among ``world_size``; each trains on an equal share of the streams.
        world_size: Number of processes that train together; each has ``batching.batch_size`` streams.
        device: Stores the split and makes the windows; ``None`` makes them from ``ids``, on the CPU.

    Raises:
        DataError: If the split is too short for the batch.
    """

    def __init__(
        self,
        ids: Ids,
        batching: BatchingConfig,
        seed: int,
        eos_id: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self._ids = ids
        self._seed = seed
        self._eos_id = eos_id
        self._random_offset = batching.random_offset
        self._jitter = batching.jitter
        num_streams = batching.batch_size * world_size
        self.stream_length = len(ids) // num_streams
        if self.stream_length < batching.bptt_length:
            raise DataError(
                f"train: {len(ids):,} words in {num_streams} streams are {self.stream_length:,} words each, shorter "
                f"than a window (batching.bptt_length={batching.bptt_length}); lower batching.batch_size "
                f"(got {batching.batch_size}) or batching.bptt_length, or use a larger corpus"
            )
        starts = np.arange(num_streams, dtype=np.int64) * self.stream_length
        self._starts = starts[rank * batching.batch_size : (rank + 1) * batching.batch_size]
        self._device_split = (
            None if device is None else DeviceSplit(ids, self._starts, self.stream_length, eos_id, device)
        )
        self._lengths = (
            jittered_lengths(self.stream_length, batching.bptt_length, seed)
            if batching.jitter
            else even_lengths(self.stream_length, batching.bptt_length)
        )
        self.epoch = 0
        self.position = 0
        self._resumed = False

    def __len__(self) -> int:
        """Number of windows per epoch, finished ones included."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[Window]:
        # a generator runs from the first next() on, so Lightning may call iter() twice
        if self.position == len(self):
            self.epoch += 1
            self.position = 0
        elif not self._resumed:
            self.position = 0
        self._resumed = False
        offset, lengths = self._plan(self.epoch)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        for index in range(self.position, len(lengths)):
            begin, end = int(bounds[index]), int(bounds[index + 1])
            if self._device_split is not None:
                input_ids, target_ids = self._device_split.window(begin, end, offset)
            else:
                positions = (target_positions(self._starts, begin, end) + offset) % len(self._ids)
                input_ids, target_ids = inputs_and_targets(self._ids, positions, self._eos_id)
            self.position = index + 1
            yield Window(input_ids, target_ids, mask=None, starts_stream=index == 0)

    def _plan(self, epoch: int) -> tuple[int, list[int]]:
        """Offset into the split and window lengths of ``epoch``."""
        rng = np.random.default_rng([self._seed, epoch])
        # always draw both, so that one setting does not change the random numbers of the other
        offset = int(rng.integers(len(self._ids)))
        order = rng.permutation(len(self._lengths))
        lengths = [self._lengths[i] for i in order] if self._jitter else self._lengths
        return (offset if self._random_offset else 0), lengths

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of its windows yielded so far."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the last window of ``state``.

        Raises:
            DataError: If ``state`` is past the end of an epoch: the corpus or the batching differs.
        """
        if not 0 <= state["position"] <= len(self):
            raise DataError(
                f"the checkpoint is at window {state['position']} of an epoch, but data and batching give an epoch of "
                f"{len(self)}; resume with the same data, batching and seed"
            )
        self.epoch = state["epoch"]
        self.position = state["position"]
        self._resumed = True

    def finish_epoch(self) -> None:
        """Let the next iteration be a complete one, although the restored position is in the middle of an epoch."""
        self._resumed = False


class EvalWindows:
    """Windows that predict every word of a split exactly once.

    Args:
        ids: The split, shape (n,).
        batch_size: Number of streams; every stream except the first starts without context, so use 1 for reported
            scores.
        window_length: Steps per window; the score does not depend on it.
        eos_id: The word before the first.
        device: Stores the split and makes the windows; ``None`` makes them from ``ids``, on the CPU.

    Attributes:
        ids: The split, shape (n,).
        stream_length: Tokens per stream; the last one may be shorter.

    Raises:
        DataError: If the split is empty.
    """

    def __init__(
        self, ids: Ids, batch_size: int, window_length: int, eos_id: int, device: torch.device | None = None
    ) -> None:
        if not len(ids):
            raise DataError("the split to evaluate is empty; it needs at least one line of text")
        if batch_size < 1 or window_length < 1:
            raise ValueError(f"batch_size and window_length must be at least 1 (got {batch_size}, {window_length})")
        self.ids = ids
        self._eos_id = eos_id
        self.num_streams = batch_size
        self.stream_length = -(-len(ids) // batch_size)
        self._starts = np.arange(batch_size, dtype=np.int64) * self.stream_length
        self._device_split = (
            None if device is None else DeviceSplit(ids, self._starts, self.stream_length, eos_id, device)
        )
        self._lengths = even_lengths(self.stream_length, window_length)

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[Window]:
        begin = 0
        for length in self._lengths:
            positions = target_positions(self._starts, begin, begin + length)
            counts = positions < len(self.ids)
            if self._device_split is not None:
                input_ids, target_ids = self._device_split.window(begin, begin + length)
            else:
                positions = np.minimum(positions, len(self.ids) - 1)
                input_ids, target_ids = inputs_and_targets(self.ids, positions, self._eos_id)
            mask = None if counts.all() else torch.from_numpy(counts).to(input_ids.device)
            yield Window(input_ids, target_ids, mask, starts_stream=begin == 0)
            begin += length
