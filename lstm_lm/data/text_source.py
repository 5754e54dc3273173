"""Text sources: the text of a split in blocks."""

import codecs
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lstm_lm.errors import DataError

_BLOCK_CHARS = 1 << 20
# where files were joined; inside a line it is a word of WikiText-2
_LINE_START_MARKS = re.compile(r"^\ufeff+", re.MULTILINE)
# UTF-32 first: its little-endian mark begins with that of UTF-16
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TextSource(ABC):
    """The text of one split, read in blocks so that it need not fit in memory."""

    label: str
    """Name of the source in error messages."""
    size_hint: int
    """Approximate number of characters, for progress bars."""
    empty_remedy: str = "it needs at least one line of text"
    """What to do if the source has no word."""
    eos_lines: int = 0
    """Number of lines that end in the word ``<eos>``, in the blocks that were encoded."""

    @abstractmethod
    def digest(self) -> str:
        """sha256 hex digest that changes whenever the text does."""

    @abstractmethod
    def blocks(self) -> Iterator[str]:
        r"""The text in order; a block ends after a whole line or, in a very long line, after a space.

        Every line ends with ``\n``, the last one too.
        """


class TextFile(TextSource):
    """A UTF-8 text file, or one in UTF-16 or UTF-32 that begins with a byte order mark.

    A byte order mark is dropped at the beginning of each line: files that were joined have them in the middle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)
        self.size_hint = path.stat().st_size

    def digest(self) -> str:
        """sha256 of the file."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{self.path}: unreadable ({error.strerror}); check its permissions") from error

    def blocks(self) -> Iterator[str]:
        """The file in blocks.

        Raises:
            DataError: If the file is not text or is unreadable.
        """
        encoding = "utf-8"
        try:
            with self.path.open("rb") as raw:
                begin = raw.read(4)
            encoding = next((name for mark, name in _BYTE_ORDER_MARKS if begin.startswith(mark)), encoding)
            with self.path.open(encoding=encoding) as file:
                for block in line_blocks(iter(lambda: file.read(_BLOCK_CHARS), "")):
                    if "\0" in block:
                        raise DataError(f"{self.path}: is binary, not text; use plain UTF-8 text")
                    # looking for a mark anywhere takes 20 µs per MB, looking for line starts 5 ms
                    yield _LINE_START_MARKS.sub("", block) if "\ufeff" in block else block
        except UnicodeDecodeError as error:
            if encoding != "utf-8":
                raise DataError(
                    f"{self.path}: begins with a byte order mark of {encoding}, but is not such text "
                    f"({error.reason}); give it as plain UTF-8 text"
                ) from error
            line, bad = self._first_bad_byte()
            raise DataError(
                f"{self.path}: is not UTF-8 text (line {line:,} has the byte 0x{bad:02x}); convert it, for example "
                "with iconv -f ISO-8859-1 -t UTF-8"
            ) from error
        except OSError as error:
            raise DataError(f"{self.path}: unreadable ({error.strerror}); check its permissions") from error

    def _first_bad_byte(self) -> tuple[int, int]:
        """Line, from 1, and value of the first byte that is not UTF-8."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    return number, line[error.start]
        raise AssertionError("the file was changed while it was read")


class LineSource(TextSource):
    """Lines from another source than a file.

    Args:
        label: Name of the source in error messages.
        lines: An iterable that can be iterated several times; lines with or without their line break.
        size_hint: Approximate number of characters.
        content_key: A string that changes whenever the lines do, if that is faster to get than the lines.
    """

    def __init__(self, label: str, lines: Iterable[str], size_hint: int, content_key: str | None = None) -> None:
        self.label = label
        self.size_hint = size_hint
        self._lines = lines
        self._content_key = content_key

    def digest(self) -> str:
        """sha256 of ``content_key``, else of the lines."""
        digest = hashlib.sha256((self._content_key or "").encode())
        if self._content_key is None:
            for block in self.blocks():
                digest.update(block.encode())
        return digest.hexdigest()

    def blocks(self) -> Iterator[str]:
        """The lines in blocks."""
        # WikiText on the hub has a line break in each line but the blank ones
        yield from line_blocks(line.removesuffix("\n") + "\n" for line in self._lines)


def line_blocks(pieces: Iterable[str]) -> Iterator[str]:
    """Join pieces of text into blocks that end after a whole line or, in a very long line, after a space."""
    buffer: list[str] = []
    size = 0
    in_line = False
    for piece in pieces:
        buffer.append(piece)
        size += len(piece)
        if size < _BLOCK_CHARS:
            continue
        text = "".join(buffer)
        cut = text.rfind("\n") + 1 or text.rfind(" ") + 1
        if cut:
            in_line = text[cut - 1] == " "
            yield text[:cut]
        buffer = [text[cut:]]
        size = len(buffer[0])
    text = "".join(buffer)
    if text or in_line:
        yield text if text.endswith("\n") else text + "\n"


def split_by_hash(key: str, percentages: Sequence[tuple[str, int]]) -> str:
    """The split of a document, from a hash of its name or text: it never depends on the other documents.

    Args:
        key: Name or text of the document.
        percentages: Each split and its percentage of the documents; they add up to 100.
    """
    percentile = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    for split, percentage in percentages:
        percentile -= percentage
        if percentile < 0:
            return split
    raise AssertionError("the percentages add up to 100")
