"""One text file as train, valid and test."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lstm_lm.data.text_source import TextFile, TextSource, line_blocks, split_by_hash

PERCENTAGES = (("train", 90), ("valid", 5), ("test", 5))
"""Percentage of the lines or documents in each split."""


class TextFileSplit(TextSource):
    """The lines or documents of one split of a file, in the order of the file.

    A hash of its text decides the split of a line or document: text that is added never moves other text, and equal
    lines or documents are in one split.

    Args:
        path: The file.
        split: ``train``, ``valid`` or ``test``.
        split_by: ``line``: blank lines are dropped. ``document``: blank lines separate documents and are kept.
    """

    def __init__(self, path: Path, split: str, split_by: str) -> None:
        self._file = TextFile(path)
        self._split = split
        self._split_by = split_by
        self.label = f"{path}, {split} split by {split_by}"
        self.size_hint = max(self._file.size_hint * dict(PERCENTAGES)[split] // 100, 1)
        self.empty_remedy = "use a longer file"
        if split_by == "document":
            self.empty_remedy += " with more blank lines between documents, or data.split_by=line"

    def digest(self) -> str:
        """sha256 of the file, the split and the way it is split."""
        return hashlib.sha256(f"{self._file.digest()} {self._split} {self._split_by}".encode()).hexdigest()

    def blocks(self) -> Iterator[str]:
        """The text of the split in blocks."""
        units = self._lines() if self._split_by == "line" else self._documents()
        yield from line_blocks(unit for unit in units if split_by_hash(unit, PERCENTAGES) == self._split)

    def _documents(self) -> Iterator[str]:
        """Documents, each with one blank line after it."""
        document: list[str] = []
        for line in self._lines(blank=True):
            if line.strip():
                document.append(line)
            elif document:
                yield "".join([*document, "\n"])
                document.clear()
        if document:
            yield "".join([*document, "\n"])

    def _lines(self, blank: bool = False) -> Iterator[str]:
        incomplete = ""
        for block in self._file.blocks():
            *lines, incomplete = (incomplete + block).split("\n")
            yield from (f"{line}\n" for line in lines if blank or line.strip())
        assert not incomplete, "the last block ends with a line break"
