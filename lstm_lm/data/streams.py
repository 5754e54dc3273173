"""From one long row of words to windows that a network trains or is scored on.

A split of n words is n predictions: word i is the target, the word before it the input, and the first word is
predicted from ``<eos>``. Cut into B contiguous streams of L predictions, the targets of ``a b c d e f`` with B = 2
lie like this, and a window is a range of columns of the grid::

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
from lstm_lm.errors import DataError

Ids = NDArray[np.int32]

# Merity et al. 2017 §4.1 and their code: mostly N(bptt, 5), one time in twenty N(bptt / 2, 5), at least 5
_JITTER_DEVIATION = 5.0
_SHORT_WINDOWS = 0.05
_SHORTEST_WINDOW = 5


@dataclass(frozen=True)
class Window:
    """T steps of B streams.

    Attributes:
        input_ids: Word ids, shape (B, T), int64.
        target_ids: The word after each input, shape (B, T), int64.
        mask: Where a target counts, shape (B, T), bool; ``None`` is everywhere.
        starts_stream: Whether the network begins here with a fresh state.
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
        """The same window on ``device``; Lightning moves batches by this."""
        return Window(
            self.input_ids.to(device, non_blocking=non_blocking),
            self.target_ids.to(device, non_blocking=non_blocking),
            None if self.mask is None else self.mask.to(device, non_blocking=non_blocking),
            self.starts_stream,
        )


def target_positions(stream_starts: NDArray[np.int64], begin: int, end: int) -> NDArray[np.int64]:
    """Places in the split of the targets of steps [begin, end) of every stream, shape (B, end - begin)."""
    return stream_starts[:, None] + np.arange(begin, end, dtype=np.int64)[None, :]


def inputs_and_targets(ids: Ids, positions: NDArray[np.int64], eos_id: int) -> tuple[Tensor, Tensor]:
    """Words before and at ``positions``, which lie in [0, n); the word before the first is ``eos_id``."""
    target_ids = ids[positions].astype(np.int64)
    input_ids = ids[positions - 1].astype(np.int64)
    input_ids[positions == 0] = eos_id
    return torch.from_numpy(input_ids), torch.from_numpy(target_ids)


def jittered_lengths(stream_length: int, bptt_length: int, seed: int) -> list[int]:
    """Lengths around ``bptt_length`` that add up to ``stream_length`` (Merity et al. 2017 §4.1)."""
    rng = np.random.default_rng(seed)
    shortest = min(_SHORTEST_WINDOW, bptt_length)
    lengths: list[int] = []
    left = stream_length
    while left > 0:
        mean = bptt_length / 2 if rng.random() < _SHORT_WINDOWS else bptt_length
        length = min(max(shortest, int(rng.normal(mean, _JITTER_DEVIATION))), left)
        # a rest too short for a window of its own goes to the last one
        if left - length < shortest:
            length = left
        lengths.append(length)
        left -= length
    return lengths


def even_lengths(stream_length: int, window_length: int) -> list[int]:
    """Windows of ``window_length`` that add up to ``stream_length``; the last may be shorter."""
    full, rest = divmod(stream_length, window_length)
    return [window_length] * full + ([rest] if rest else [])


class TrainWindows:
    """Endless epochs of training windows, one epoch an iteration, that can be stopped and resumed anywhere.

    An epoch is a permutation of the same predictions and the same window lengths, drawn from (seed, epoch):
    ``random_offset`` starts the corpus at another word, ``jitter`` reorders the lengths. Every epoch therefore has the
    same number of windows, which Lightning relies on. Fewer than B words at the end do not fill a column and are left
    out of the epoch; the random offset makes it other words each time.

    An iteration that follows a complete one is the next epoch; after a broken-off one it begins the same epoch again.

    Args:
        ids: The split, shape (n,).
        batching: Sizes of the batch.
        seed: What rotation and jitter are drawn from.
        eos_id: The word before the first.
        rank: Which of ``world_size`` equal shares of the columns this process trains.
        world_size: Number of processes that train together; each has ``batching.batch_size`` columns.

    Raises:
        DataError: If the split is too short for the batch.
    """

    def __init__(
        self, ids: Ids, batching: BatchingConfig, seed: int, eos_id: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self._ids = ids
        self._seed = seed
        self._eos_id = eos_id
        self._random_offset = batching.random_offset
        self._jitter = batching.jitter
        columns = batching.batch_size * world_size
        self.stream_length = len(ids) // columns
        if self.stream_length < batching.bptt_length:
            raise DataError(
                f"train: {len(ids):,} words cut into {columns} streams are {self.stream_length:,} words each, shorter "
                f"than a window (batching.bptt_length={batching.bptt_length}); lower batching.batch_size "
                f"(got {batching.batch_size}) or batching.bptt_length, or take a larger corpus"
            )
        starts = np.arange(columns, dtype=np.int64) * self.stream_length
        self._starts = starts[rank * batching.batch_size : (rank + 1) * batching.batch_size]
        self._lengths = (
            jittered_lengths(self.stream_length, batching.bptt_length, seed)
            if batching.jitter
            else even_lengths(self.stream_length, batching.bptt_length)
        )
        self.epoch = 0
        self.position = 0
        self._resumed = False

    def __len__(self) -> int:
        """Windows of an epoch, whatever part of it is already done."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[Window]:
        # a generator: nothing happens before the first window is asked for, so that Lightning may call iter() twice
        if self.position == len(self):
            self.epoch += 1
            self.position = 0
        elif not self._resumed:
            self.position = 0
        self._resumed = False
        offset, lengths = self._plan(self.epoch)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        for index in range(self.position, len(lengths)):
            positions = target_positions(self._starts, int(bounds[index]), int(bounds[index + 1]))
            input_ids, target_ids = inputs_and_targets(self._ids, (positions + offset) % len(self._ids), self._eos_id)
            self.position = index + 1
            yield Window(input_ids, target_ids, mask=None, starts_stream=index == 0)

    def _plan(self, epoch: int) -> tuple[int, list[int]]:
        """Where the corpus begins and how long the windows are in ``epoch``."""
        rng = np.random.default_rng([self._seed, epoch])
        # both are drawn whatever is used, so that one switch does not change the other's numbers
        offset = int(rng.integers(len(self._ids)))
        order = rng.permutation(len(self._lengths))
        lengths = [self._lengths[i] for i in order] if self._jitter else self._lengths
        return (offset if self._random_offset else 0), lengths

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its windows were handed out."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the window at which ``state`` was taken.

        Raises:
            DataError: If an epoch of these windows has no such place: the corpus or the batching is another.
        """
        if not 0 <= state["position"] <= len(self):
            raise DataError(
                f"the checkpoint was taken after {state['position']} windows of an epoch, but data and batching give "
                f"{len(self)}; resume with the same data, batching and seed"
            )
        self.epoch = state["epoch"]
        self.position = state["position"]
        self._resumed = True


class EvalWindows:
    """Windows that predict every word of a split exactly once.

    Args:
        ids: The split, shape (n,).
        batch_size: Streams side by side; a column but the first begins without what was before it, so that 1 gives
            the reference score.
        window_length: Steps of a window; the score does not depend on it.
        eos_id: The word before the first.

    Raises:
        DataError: If the split is empty.
    """

    def __init__(self, ids: Ids, batch_size: int, window_length: int, eos_id: int) -> None:
        if not len(ids):
            raise DataError("the split to evaluate is empty; give it at least one line of text")
        if batch_size < 1 or window_length < 1:
            raise ValueError(f"batch_size and window_length must be at least 1 (got {batch_size}, {window_length})")
        self._ids = ids
        self._eos_id = eos_id
        self.stream_length = -(-len(ids) // batch_size)
        self._starts = np.arange(batch_size, dtype=np.int64) * self.stream_length
        self._lengths = even_lengths(self.stream_length, window_length)

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[Window]:
        begin = 0
        for length in self._lengths:
            positions = target_positions(self._starts, begin, begin + length)
            counts = positions < len(self._ids)
            input_ids, target_ids = inputs_and_targets(
                self._ids, np.minimum(positions, len(self._ids) - 1), self._eos_id
            )
            mask = None if counts.all() else torch.from_numpy(counts)
            yield Window(input_ids, target_ids, mask, starts_stream=begin == 0)
            begin += length
