"""Where the text of each corpus comes from."""

import codecs
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lstm_lm.data import hub, python_docs
from lstm_lm.data.config import HUB_CORPORA, DataConfig
from lstm_lm.errors import DataError

SPLITS = ("train", "valid", "test")
_HUB_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_BLOCK = 1 << 20
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
    """The text of one split, read in blocks so that it never has to fit in memory.

    Attributes:
        where: What an error message calls it.
        size: About how many characters it has, for progress.
        eos_lines: Lines that end in a word ``<eos>``, as far as it was encoded.
    """

    where: str
    size: int
    eos_lines: int = 0

    @abstractmethod
    def digest(self) -> str:
        """sha256 hex of what :meth:`blocks` follows from."""

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
        self.where = str(path)
        self.size = path.stat().st_size

    def digest(self) -> str:
        """sha256 of the file."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error

    def blocks(self) -> Iterator[str]:
        """The file in blocks.

        Raises:
            DataError: If it is not text or cannot be read.
        """
        encoding = "utf-8"
        try:
            with self.path.open("rb") as raw:
                begin = raw.read(4)
            encoding = next((name for mark, name in _BYTE_ORDER_MARKS if begin.startswith(mark)), encoding)
            with self.path.open(encoding=encoding) as file:
                for block in _whole_lines(iter(lambda: file.read(_BLOCK), "")):
                    if "\0" in block:
                        raise DataError(f"{self.path}: is binary, not text; give it as plain UTF-8 text")
                    yield _LINE_START_MARKS.sub("", block)
        except UnicodeDecodeError as error:
            if encoding != "utf-8":
                raise DataError(
                    f"{self.path}: begins with a byte order mark of {encoding}, but is not such text "
                    f"({error.reason}); give it as plain UTF-8 text"
                ) from error
            line, bad = self._first_bad_byte()
            raise DataError(
                f"{self.path}: is not UTF-8 text (line {line:,} holds the byte 0x{bad:02x}); convert it, for example "
                "with iconv -f ISO-8859-1 -t UTF-8"
            ) from error
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error

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
    """Lines that are read from somewhere else.

    Args:
        where: What an error message calls it.
        lines: Gives the lines anew each time; with or without their line break.
        size: About how many characters it has.
        key: What the lines follow from, where that is quicker to tell than by reading them.
    """

    def __init__(self, where: str, lines: Iterable[str], size: int, key: str | None = None) -> None:
        self.where = where
        self.size = size
        self._lines = lines
        self._key = key

    def digest(self) -> str:
        """sha256 of the key, or of the lines."""
        digest = hashlib.sha256((self._key or "").encode())
        if self._key is None:
            for block in self.blocks():
                digest.update(block.encode())
        return digest.hexdigest()

    def blocks(self) -> Iterator[str]:
        """The lines in blocks."""
        # the hub keeps a line with its line break, but blank ones without
        yield from _whole_lines(line.removesuffix("\n") + "\n" for line in self._lines)


class _Rows:
    """The ``text`` column of a dataset, read in batches."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[str]:
        for batch in self._dataset.iter(batch_size=1000):
            yield from batch["text"]


def _whole_lines(pieces: Iterable[str]) -> Iterator[str]:
    carry: list[str] = []
    size = 0
    for piece in pieces:
        carry.append(piece)
        size += len(piece)
        if size < _BLOCK:
            continue
        text = "".join(carry)
        cut = text.rfind("\n") + 1 or text.rfind(" ") + 1
        if cut:
            yield text[:cut]
        carry = [text[cut:]]
        size = len(carry[0])
    text = "".join(carry)
    if text or size:
        yield text if text.endswith("\n") else text + "\n"


def open_split(config: DataConfig, split: str) -> TextSource:
    """The text of one split of a corpus.

    Args:
        config: A corpus without problems.
        split: ``train``, ``valid`` or ``test``.

    Raises:
        DataError: If it is missing or unreadable.
        CorpusUnreachableError: If it is on the hub and the hub cannot be reached.
    """
    assert split in SPLITS, split
    if config.source in HUB_CORPORA:
        return _hub_split(config, split)
    if config.source == "text_files":
        folder = Path(config.dir or "").expanduser()
        if folder.is_file():
            raise DataError(
                f"data.dir={config.dir}: is a file; give the folder that holds it, data.dir={folder.parent}"
            )
        if not folder.is_dir():
            raise DataError(
                f"data.dir={config.dir}: there is no such folder; give one that holds train.txt, valid.txt and test.txt"
            )
        return TextFile(_file_of_split(folder, split))
    return LineSource(
        f"python_docs {split}",
        python_docs.Split(split),
        size=python_docs.TYPICAL_SIZE[split],
        key=f"{split} {python_docs.sources_digest()}",
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
            f"{plain}: there is no such file; data.dir must hold train.txt, valid.txt and test.txt (names such as "
            "wiki.train.tokens and ptb.train.txt are found too)"
        )
    return found[0]


def _hub_split(config: DataConfig, split: str) -> TextSource:
    assert config.hub_path, "DataConfig.problems() reports this"
    assert config.hub_config, "and this"
    hub_split = _HUB_SPLITS[split]
    where = f"{config.hub_path} ({config.hub_config}, {hub_split})"
    folder = Path(config.hub_path).expanduser()
    if config.hub_path.startswith(("/", ".", "~")) and not folder.is_dir():
        raise DataError(
            f"data.hub_path={config.hub_path}: there is no such folder; give one in the hub's layout, or a dataset's "
            "name on the hub, as in Salesforce/wikitext"
        )
    dataset = (
        hub.local_rows(folder / config.hub_config, hub_split)
        if folder.is_dir()
        else hub.hub_rows(config.hub_path, config.hub_config, hub_split)
    )
    if "text" not in dataset.column_names:
        raise DataError(
            f"{where}: has no column 'text' (it has {', '.join(dataset.column_names)}); take another corpus"
        )
    return LineSource(where, _Rows(dataset), size=dataset.data.nbytes)
