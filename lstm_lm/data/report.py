"""What a corpus turned into, for a look before training."""

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
from lstm_lm.text.input_text import detokenize

_CHUNK = 1 << 22
_CHECKED_WINDOWS = 50
_SAMPLE_WORDS = 60


@dataclass(frozen=True)
class SplitReport:
    """One split.

    Attributes:
        name: ``train``, ``valid`` or ``test``.
        tokens: Words plus one ``<eos>`` a line: the predictions that a score counts.
        lines: Lines, blank ones included.
        unk_rate: Share of the tokens that are ``<unk>``.
    """

    name: str
    tokens: int
    lines: int
    unk_rate: float


@dataclass(frozen=True)
class BatchReport:
    """The windows of one split.

    Attributes:
        name: ``train``, ``valid`` or ``test``.
        shape: (B, T) of the first window.
        stream_length: Predictions of a column.
        windows: Windows of an epoch.
    """

    name: str
    shape: tuple[int, int]
    stream_length: int
    windows: int


@dataclass(frozen=True)
class DataReport:
    """What ``lstm-lm data`` shows.

    Attributes:
        corpus: Its name.
        tokenizer: How text is cut into words.
        vocabulary_size: Words, ``<unk>`` and ``<eos>`` included.
        splits: Every split.
        batches: The windows that training, validation and test see.
        sample: The beginning of train's first stream, decoded and written as text.
    """

    corpus: str
    tokenizer: str
    vocabulary_size: int
    splits: tuple[SplitReport, ...]
    batches: tuple[BatchReport, ...]
    sample: str


def data_report(corpus: EncodedCorpus, batching: BatchingConfig, seed: int = 1) -> DataReport:
    """Describe a corpus and check that its windows are what a language model trains on.

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
    for split, of_split in windows.items():
        first = list(islice(of_split, _CHECKED_WINDOWS))
        check_shift(split, first)
        batches.append(
            BatchReport(
                name=split,
                shape=(first[0].target_ids.shape[0], first[0].target_ids.shape[1]),
                stream_length=of_split.stream_length,
                windows=len(of_split),
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
                lines=_occurrences(ids, vocabulary.eos_id),
                unk_rate=_occurrences(ids, vocabulary.unk_id) / len(ids),
            )
            for name, ids in corpus.splits.items()
        ),
        batches=tuple(batches),
        sample=detokenize(sample).strip(),
    )


def check_shift(split: str, windows: Iterable[Window]) -> None:
    """Make sure that every target is the next input, inside a window and from one to the next.

    Args:
        split: Named in the error.
        windows: Consecutive windows from the start of an epoch.

    Raises:
        DataError: At the first place where a target is not the word that comes next.
    """
    windows = list(windows)
    for index, window in enumerate(windows):
        targets, inputs = window.target_ids[:, :-1], window.input_ids[:, 1:]
        if bool(((targets != inputs) & _counting(window)[:, 1:]).any()):
            raise DataError(
                f"{split}: in window {index} a target is not the word that comes next (targets must be the inputs "
                "shifted by one); the encoded corpus is damaged, delete it from data.cache_dir"
            )
    for index, (window, following) in enumerate(pairwise(windows)):
        apart = window.target_ids[:, -1] != following.input_ids[:, 0]
        if bool((apart & _counting(following)[:, 0]).any()):
            raise DataError(
                f"{split}: window {index + 1} does not begin where window {index} ends; the encoded corpus is "
                "damaged, delete it from data.cache_dir"
            )


def _counting(window: Window) -> Tensor:
    return torch.ones_like(window.target_ids, dtype=torch.bool) if window.mask is None else window.mask


def _occurrences(ids: Ids, index: int) -> int:
    # in chunks: a comparison of the whole would allocate as much as it maps
    return sum(int(np.count_nonzero(ids[i : i + _CHUNK] == index)) for i in range(0, len(ids), _CHUNK))
