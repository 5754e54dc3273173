"""Report of an encoded corpus, and a check of its windows before training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from lstm_lm.data.config import BatchingConfig
from lstm_lm.data.encoding import EncodedCorpus, Ids, first_words
from lstm_lm.data.streams import EvalWindows, TrainWindows, Window
from lstm_lm.errors import DataError
from lstm_lm.text.vocabulary import EOS, UNK, Vocabulary

_CHUNK = 1 << 22
_CHECKED_WINDOWS = 50
_SAMPLE_LINES = 3
_SAMPLE_LINE_WORDS = 30
_SAMPLE_WORDS = 1000
_COVERAGE_SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)


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
    sample: tuple[str, ...]
    """The first lines as the network sees them: tokens between spaces, an unknown word as ``<unk:word>``."""


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
    compared: int
    """Words of the first stream that were compared with the text."""


@dataclass(frozen=True)
class DataReport:
    """The output of ``lstm-lm data``."""

    corpus: str
    """Name of the corpus."""
    tokenizer: str
    """Name of the tokenizer."""
    vocabulary_size: int
    """Number of words, ``<unk>`` and ``<eos>`` included."""
    splits: tuple[SplitReport, ...]
    """Size of each split."""
    batches: tuple[BatchReport, ...]
    """Windows of training, validation and test."""
    coverage: tuple[tuple[int, float], ...]
    """Fraction of the tokens of train that the most frequent words cover, by their number."""


def data_report(corpus: EncodedCorpus, batching: BatchingConfig, seed: int = 1) -> DataReport:
    """Describe a corpus and check the targets of its first windows.

    Raises:
        DataError: If the corpus is too short for the batch, or :func:`check_windows` fails.
    """
    vocabulary = corpus.vocabulary
    windows: dict[str, TrainWindows | EvalWindows] = {
        # without the random offset, so that the first stream begins where the text does
        "train": TrainWindows(corpus.splits["train"], replace(batching, random_offset=False), seed, vocabulary.eos_id)
    }
    for split in ("valid", "test"):
        windows[split] = EvalWindows(
            corpus.splits[split], batching.eval_batch_size, batching.bptt_length, vocabulary.eos_id
        )
    batches, samples = [], {}
    for split, split_windows in windows.items():
        first = list(islice(split_windows, _CHECKED_WINDOWS))
        stream_words = min(_CHECKED_WINDOWS * batching.bptt_length, split_windows.stream_length)
        words = first_words(corpus, split, max(stream_words, _SAMPLE_WORDS))
        compared = check_windows(split, first, vocabulary.encode(words[:stream_words]), vocabulary.eos_id)
        samples[split] = _sample_lines(words, vocabulary)
        batches.append(
            BatchReport(
                name=split,
                shape=(first[0].target_ids.shape[0], first[0].target_ids.shape[1]),
                stream_length=split_windows.stream_length,
                windows=len(split_windows),
                compared=compared,
            )
        )
    return DataReport(
        corpus=corpus.config.corpus_name,
        tokenizer=corpus.tokenizer,
        vocabulary_size=len(vocabulary),
        splits=tuple(
            SplitReport(
                name=name,
                tokens=len(ids),
                lines=_count(ids, vocabulary.eos_id),
                unk_rate=_count(ids, vocabulary.unk_id) / len(ids),
                sample=samples[name],
            )
            for name, ids in corpus.splits.items()
        ),
        batches=tuple(batches),
        coverage=_coverage(vocabulary),
    )


def check_windows(split: str, windows: Iterable[Window], text_ids: Sequence[int], eos_id: int) -> int:
    """Compare the first stream with the text: targets are its words, inputs the same words one step later.

    Args:
        split: Named in the error.
        windows: Consecutive windows from the beginning of the split.
        text_ids: Ids of the text, encoded without the cache.
        eos_id: The input before the first word.

    Returns:
        The number of words compared.

    Raises:
        DataError: At the first window that differs.
    """
    expected = np.array([eos_id, *text_ids])
    begin = 0
    for index, window in enumerate(windows):
        end = min(begin + window.target_ids.shape[1], len(text_ids))
        for what, ids, first in (("inputs", window.input_ids, begin), ("targets", window.target_ids, begin + 1)):
            if not np.array_equal(ids[0, : end - begin].numpy(), expected[first : first + end - begin]):
                raise DataError(
                    f"{split}: the {what} of window {index} are not the words of the text (targets must be the inputs "
                    "shifted by one); delete the encoded corpus from data.cache_dir, or report this as a bug"
                )
        begin = end
    return begin


def _sample_lines(words: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The first lines that are not blank, a long one cut."""
    lines: list[list[str]] = [[]]
    for word in words:
        lines[-1].append(word if word in vocabulary else f"<{UNK[1:-1]}:{word}>")
        if word == EOS:
            lines.append([])
    shown = [line for line in lines if line and line != [EOS]][:_SAMPLE_LINES]
    return tuple(" ".join([*line[:_SAMPLE_LINE_WORDS], *["…"][: len(line) - _SAMPLE_LINE_WORDS]]) for line in shown)


def _coverage(vocabulary: Vocabulary) -> tuple[tuple[int, float], ...]:
    known = np.cumsum([count for i, count in enumerate(vocabulary.counts) if i != vocabulary.unk_id])
    sizes = [size for size in _COVERAGE_SIZES if size < len(known)]
    return tuple((size, float(known[size - 1]) / sum(vocabulary.counts)) for size in (*sizes, len(known)))


def _count(ids: Ids, word_id: int) -> int:
    # in chunks: comparing all at once would allocate a mask as long as the split
    return sum(int(np.count_nonzero(ids[i : i + _CHUNK] == word_id)) for i in range(0, len(ids), _CHUNK))
