"""Report of an encoded corpus, and a check of its windows before training."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch
from torch import Tensor

from lstm_lm.data.config import BatchingConfig
from lstm_lm.data.encoding import EncodedCorpus, Ids
from lstm_lm.data.streams import EvalWindows, TrainWindows, Window
from lstm_lm.errors import DataError
from lstm_lm.text.detokenize import detokenize

_CHUNK = 1 << 22
_CHECKED_WINDOWS = 50
_SAMPLE_WORDS = 60


@dataclass(frozen=True)
class SplitReport:
    """Size of one split."""

    name: str
    """``train``, ``valid`` or ``test``."""
    tokens: int
    """Words plus one ``<eos>`` per line: the predictions that a score counts."""
    lines: int
    """Lines, blank ones included."""
    unk_rate: float
    """Fraction of the tokens that are ``<unk>``."""


@dataclass(frozen=True)
class BatchReport:
    """Windows of one split."""

    name: str
    """``train``, ``valid`` or ``test``."""
    shape: tuple[int, int]
    """(B, T) of the first window."""
    stream_length: int
    """Predictions per stream."""
    windows: int
    """Windows per epoch."""


@dataclass(frozen=True)
class DataReport:
    """The output of ``lstm-lm data``."""

    corpus: str
    """``source`` of the corpus."""
    tokenizer: str
    """Name of the tokenizer."""
    vocabulary_size: int
    """Number of words, ``<unk>`` and ``<eos>`` included."""
    splits: tuple[SplitReport, ...]
    """Size of each split."""
    batches: tuple[BatchReport, ...]
    """Windows of training, validation and test."""
    sample: str
    """The start of train, decoded and detokenized."""


def data_report(corpus: EncodedCorpus, batching: BatchingConfig, seed: int = 1) -> DataReport:
    """Describe a corpus and check the targets of its first windows.

    Raises:
        DataError: If the corpus is too short for the batch, or :func:`check_shift` fails.
    """
    vocabulary = corpus.vocabulary
    windows: dict[str, TrainWindows | EvalWindows] = {
        "train": TrainWindows(corpus.splits["train"], batching, seed, vocabulary.eos_id)
    }
    for split in ("valid", "test"):
        windows[split] = EvalWindows(
            corpus.splits[split], batching.eval_batch_size, batching.bptt_length, vocabulary.eos_id
        )
    batches = []
    for split, split_windows in windows.items():
        first = list(islice(split_windows, _CHECKED_WINDOWS))
        check_shift(split, first)
        batches.append(
            BatchReport(
                name=split,
                shape=(first[0].target_ids.shape[0], first[0].target_ids.shape[1]),
                stream_length=split_windows.stream_length,
                windows=len(split_windows),
            )
        )
    sample = [vocabulary.word(int(index)) for index in corpus.splits["train"][:_SAMPLE_WORDS]]
    return DataReport(
        corpus=corpus.config.source,
        tokenizer=corpus.tokenizer,
        vocabulary_size=len(vocabulary),
        splits=tuple(
            SplitReport(
                name=name,
                tokens=len(ids),
                lines=_count(ids, vocabulary.eos_id),
                unk_rate=_count(ids, vocabulary.unk_id) / len(ids),
            )
            for name, ids in corpus.splits.items()
        ),
        batches=tuple(batches),
        sample=detokenize(sample).strip(),
    )


def check_shift(split: str, windows: Iterable[Window]) -> None:
    """Check that every target is the next input, within a window and across windows.

    Args:
        split: Name of the split, for the error message.
        windows: Consecutive windows from the start of an epoch.

    Raises:
        DataError: If a target is not the next word.
    """
    windows = list(windows)
    for index, window in enumerate(windows):
        targets, inputs = window.target_ids[:, :-1], window.input_ids[:, 1:]
        if bool(((targets != inputs) & _target_mask(window)[:, 1:]).any()):
            raise DataError(
                f"{split}: in window {index} a target is not the next word (targets must be the inputs shifted by "
                "one); the encoded corpus is damaged, delete it from data.cache_dir"
            )
    for index, (window, following) in enumerate(pairwise(windows)):
        differs = window.target_ids[:, -1] != following.input_ids[:, 0]
        if bool((differs & _target_mask(following)[:, 0]).any()):
            raise DataError(
                f"{split}: window {index + 1} does not start where window {index} ends; the encoded corpus is damaged, "
                "delete it from data.cache_dir"
            )


def _target_mask(window: Window) -> Tensor:
    return torch.ones_like(window.target_ids, dtype=torch.bool) if window.mask is None else window.mask


def _count(ids: Ids, word_id: int) -> int:
    # in chunks: comparing all at once would allocate a mask as long as the split
    return sum(int(np.count_nonzero(ids[i : i + _CHUNK] == word_id)) for i in range(0, len(ids), _CHUNK))
