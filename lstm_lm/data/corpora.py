"""Open the text of a corpus."""

from pathlib import Path

from lstm_lm.data import chat, hub, own, python_docs
from lstm_lm.data.config import HUB_CORPORA, SPLITS, DataConfig
from lstm_lm.data.text_file import TextFileSplit
from lstm_lm.data.text_source import LineSource, TextFile, TextSource
from lstm_lm.errors import DataError

# {0} is the split; in their order
_FILE_NAMES = ("{0}.txt", "*.{0}.txt", "{0}.tokens", "*.{0}.tokens", "{0}.raw", "*.{0}.raw")


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
        return hub.open_split(config, split)
    if config.source == "text_files":
        return _folder_split(config, split)
    if config.source == "text_file":
        return _file_split(config, split)
    if config.source == "own":
        return own.open_split(config, split)
    if config.source == "chat":
        return LineSource(
            f"chat {split}", chat.ChatSplit(split), chat.SIZE_HINTS[split], f"{split} {chat.sources_digest()}"
        )
    return LineSource(
        f"python_docs {split}",
        python_docs.DocsSplit(split),
        python_docs.SIZE_HINTS[split],
        f"{split} {python_docs.sources_digest()}",
    )


def _folder_split(config: DataConfig, split: str) -> TextSource:
    folder = Path(config.dir or "").expanduser()
    if folder.is_file():
        raise DataError(
            f"data.dir={config.dir}: is a file; use its folder, data.dir={folder.parent}, or split the file with "
            f"data=text_file data.file={config.dir}"
        )
    if not folder.is_dir():
        raise DataError(f"data.dir={config.dir}: no such folder; it must contain train.txt, valid.txt and test.txt")
    return TextFile(_file_of_split(folder, split))


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


def _file_split(config: DataConfig, split: str) -> TextSource:
    path = Path(config.file or "").expanduser()
    if path.is_dir():
        raise DataError(
            f"data.file={config.file}: is a folder; name a file in it, or use data=text_files data.dir={config.file} "
            "for train.txt, valid.txt and test.txt"
        )
    if not path.is_file():
        raise DataError(f"data.file={config.file}: no such file; give the path of a text file")
    return TextFileSplit(path, split, config.split_by)
