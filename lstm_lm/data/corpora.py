"""Text sources: the splits of each corpus as blocks of text."""

import codecs
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lstm_lm.data import hub, python_docs
from lstm_lm.data.config import HUB_CORPORA, SPLITS, DataConfig
from lstm_lm.errors import DataError

_HUB_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
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
# {0} is the split; in their order
_FILE_NAMES = ("{0}.txt", "*.{0}.txt", "{0}.tokens", "*.{0}.tokens", "{0}.raw", "*.{0}.raw")


class TextSource(ABC):
    """The text of one split, read in blocks so that it need not fit in memory."""

    label: str
    """Name of the source in error messages."""
    size_hint: int
    """Approximate number of characters, for progress bars."""
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
                for block in _line_blocks(iter(lambda: file.read(_BLOCK_CHARS), "")):
                    if "\0" in block:
                        raise DataError(f"{self.path}: is binary, not text; use plain UTF-8 text")
                    yield _LINE_START_MARKS.sub("", block)
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
        yield from _line_blocks(line.removesuffix("\n") + "\n" for line in self._lines)


class _TextColumn:
    """The ``text`` column of a dataset, read in batches."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[str]:
        for batch in self._dataset.iter(batch_size=1000):
            yield from batch["text"]


def _line_blocks(pieces: Iterable[str]) -> Iterator[str]:
    buffer: list[str] = []
    size = 0
    for piece in pieces:
        buffer.append(piece)
        size += len(piece)
        if size < _BLOCK_CHARS:
            continue
        text = "".join(buffer)
        cut = text.rfind("\n") + 1 or text.rfind(" ") + 1
        if cut:
            yield text[:cut]
        buffer = [text[cut:]]
        size = len(buffer[0])
    text = "".join(buffer)
    if text or size:
        yield text if text.endswith("\n") else text + "\n"


def open_split(config: DataConfig, split: str) -> TextSource:
    """Open the text of one split of a corpus.

    Args:
        config: A config without problems.
        split: ``train``, ``valid`` or ``test``.

    Raises:
        DataError: If the text is missing or unreadable.
        CorpusUnreachableError: If the corpus is on the hub and the hub is unreachable.
    """
    assert split in SPLITS, split
    if config.source in HUB_CORPORA:
        return _hub_split(config, split)
    if config.source == "text_files":
        folder = Path(config.dir or "").expanduser()
        if folder.is_file():
            raise DataError(f"data.dir={config.dir}: is a file; use its folder, data.dir={folder.parent}")
        if not folder.is_dir():
            raise DataError(f"data.dir={config.dir}: no such folder; it must contain train.txt, valid.txt and test.txt")
        return TextFile(_file_of_split(folder, split))
    return LineSource(
        f"python_docs {split}",
        python_docs.DocsSplit(split),
        size_hint=python_docs.SIZE_HINTS[split],
        content_key=f"{split} {python_docs.sources_digest()}",
    )


def _file_of_split(folder: Path, split: str) -> Path:
    """The file of a split: ``train.txt``, else one that is named like ``wiki.train.tokens`` or ``ptb.train.txt``."""
    plain = folder / f"{split}.txt"
    if plain.is_file():
        return plain
    found = sorted({path for name in _FILE_NAMES for path in folder.glob(name.format(split)) if path.is_file()})
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder}: has several files of the {split} split ({names}); name one of them {split}.txt")
    if not found:
        raise DataError(
            f"{plain}: no such file; data.dir must contain train.txt, valid.txt and test.txt (names such as "
            "wiki.train.tokens and ptb.train.txt are found too)"
        )
    return found[0]


def _hub_split(config: DataConfig, split: str) -> TextSource:
    assert config.hub_path, "DataConfig.problems() reports a missing hub_path"
    assert config.hub_config, "DataConfig.problems() reports a missing hub_config"
    hub_split = _HUB_SPLITS[split]
    label = f"{config.hub_path} ({config.hub_config}, {hub_split})"
    folder = Path(config.hub_path).expanduser()
    if config.hub_path.startswith(("/", ".", "~")) and not folder.is_dir():
        raise DataError(
            f"data.hub_path={config.hub_path}: no such folder; use a folder in the hub's layout, or a dataset on "
            "the hub, such as Salesforce/wikitext"
        )
    dataset = (
        hub.local_rows(folder / config.hub_config, hub_split)
        if folder.is_dir()
        else hub.hub_rows(config.hub_path, config.hub_config, hub_split)
    )
    if "text" not in dataset.column_names:
        raise DataError(f"{label}: has no column 'text' (got {', '.join(dataset.column_names)}); use another corpus")
    return LineSource(label, _TextColumn(dataset), size_hint=dataset.data.nbytes)
