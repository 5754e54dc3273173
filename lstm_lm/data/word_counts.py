"""Words of a large text, numbered and counted in bounded memory."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.block_encoding import EncodedBlock, GrowingIds
from lstm_lm.text.vocabulary import Vocabulary

MAX_WORDS = 1 << 20
"""Distinct words in memory, about 150 MB."""


@dataclass(frozen=True)
class Segment:
    """A part of the text that is numbered by itself."""

    num_tokens: int
    num_words: int
    file: Path
    """One line per word, sorted: the word, its number and its count."""


class WordCounts:
    """Numbers words by first occurrence and counts them; exact, with at most about ``MAX_WORDS`` words in memory.

    Beyond that, the words are sorted and written to a file, and a new segment of the text starts with the number 0. The
    totals are merged from the sorted files.

    Args:
        folder: Gets the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[Segment] = []
        self._start_segment()

    def _start_segment(self) -> None:
        self._ids = GrowingIds()
        self._counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._num_tokens = 0

    def add(self, block: EncodedBlock) -> NDArray[np.int32]:
        """Number the words of a block, shape (n,); the numbers are those of the current segment."""
        if len(self._ids) >= MAX_WORDS:
            self._end_segment()
        numbers = np.fromiter(map(self._ids.__getitem__, block.words), dtype=np.int32, count=len(block.words))
        if len(self._ids) > len(self._counts):
            self._counts.resize(max(len(self._ids), 2 * len(self._counts)), refcheck=False)
        self._counts[numbers] += np.bincount(block.ids, minlength=len(block.words))
        self._num_tokens += len(block.ids)
        return numbers[block.ids]

    def _end_segment(self) -> None:
        file = self._folder / f"words.{len(self._segments)}"
        with file.open("w", encoding="utf-8", newline="\n") as out:
            for word, number in sorted(self._ids.items()):
                out.write(f"{word} {number} {self._counts[number]}\n")
        self._segments.append(Segment(self._num_tokens, len(self._ids), file))
        self._start_segment()

    def totals(self) -> Iterator[tuple[str, int]]:
        """Every word once, with its count in the whole text."""
        if not self._segments:
            return zip(self._ids, self._counts.tolist(), strict=False)
        self._end_segment()
        merged = heapq.merge(*(_lines(segment) for segment in self._segments))
        return ((word, sum(count for _, _, count in group)) for word, group in groupby(merged, key=itemgetter(0)))

    def final_ids(self, vocabulary: Vocabulary) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """For each segment, its number of tokens and the id in ``vocabulary`` of each of its numbers.

        Call :meth:`totals` before, and :meth:`remove_files` afterwards.
        """
        if not self._segments:
            yield self._num_tokens, np.array(vocabulary.encode(self._ids), dtype=np.int32)
        for segment in self._segments:
            ids = np.empty(segment.num_words, dtype=np.int32)
            for word, number, _ in _lines(segment):
                ids[number] = vocabulary.id(word)
            yield segment.num_tokens, ids

    def remove_files(self) -> None:
        """Remove the files."""
        for segment in self._segments:
            segment.file.unlink()


def _lines(segment: Segment) -> Iterator[tuple[str, int, int]]:
    with segment.file.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            word, number, count = line.split(" ")
            yield word, int(number), int(count)
