"""Where the text of each corpus comes from."""

import hashlib
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


class TextSource(ABC):
    """The text of one split, read in blocks so that it never has to fit in memory.

    Attributes:
        where: What an error message calls it.
        size: About how many characters it has, for progress.
    """

    where: str
    size: int

    @abstractmethod
    def digest(self) -> str:
        """sha256 hex of what :meth:`blocks` follows from."""

    @abstractmethod
    def blocks(self) -> Iterator[str]:
        r"""The text in order; a block ends after a whole line or, in a very long line, after a space.

        Every line ends with ``\n``, the last one too.
        """


class TextFile(TextSource):
    """A UTF-8 text file.

    Raises:
        DataError: If there is no such file.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; data.dir must hold train.txt, valid.txt and test.txt")
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
            DataError: If it is not UTF-8 text or cannot be read.
        """
        try:
            # utf-8-sig: a byte order mark is not part of the first word
            with self.path.open(encoding="utf-8-sig") as file:
                for block in _whole_lines(iter(lambda: file.read(_BLOCK), "")):
                    if "\0" in block:
                        raise DataError(f"{self.path}: is binary, not text; give it as plain UTF-8 text")
                    yield block
        except UnicodeDecodeError as error:
            bad = error.object[error.start]
            raise DataError(
                f"{self.path}: is not UTF-8 text (it holds the byte 0x{bad:02x}); convert it, for example with "
                f"iconv -f ISO-8859-1 -t UTF-8"
            ) from error
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error


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
        if not folder.is_dir():
            raise DataError(
                f"data.dir={config.dir}: there is no such folder; give one that holds train.txt, valid.txt and test.txt"
            )
        return TextFile(folder / f"{split}.txt")
    return LineSource(
        f"python_docs {split}",
        python_docs.Split(split),
        size=python_docs.TYPICAL_SIZE[split],
        key=f"{split} {python_docs.sources_digest()}",
    )


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
