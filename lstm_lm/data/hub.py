"""Datasets that the `datasets` library loads, from the Hugging Face hub or from a local folder."""

import errno
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_lm.data.config import SPLITS, DataConfig
from lstm_lm.data.text_source import LineSource, TextSource
from lstm_lm.errors import UNWRITABLE, CorpusUnreachableError, DataError

_ALTERNATIVES = (
    "use your own text with data=text_files data.dir=FOLDER (train.txt, valid.txt and test.txt) or data=text_file "
    "data.file=FILE, or data=python_docs, which needs no download"
)
_PROBE_TIMEOUTS = (2.0, 5.0, 5.0, 5.0)  # seconds to connect, read, write, and wait for a free connection
_UNREACHABLE_SECONDS = 60.0  # an unreachable hub is not tried again for so long
_unreachable_since = -math.inf

log = logging.getLogger(__name__)


def open_split(config: DataConfig, split: str) -> TextSource:
    """Open a split of a dataset on the hub, which is downloaded once, or in a local folder.

    Raises:
        CorpusUnreachableError: If the hub is unreachable or does not have the dataset.
        DataError: If the dataset is damaged or does not have the config, revision, split or column.
    """
    assert config.hub_path, "DataConfig.problems() reports a missing hub_path"
    label = config.hub_path if config.hub_config is None else f"{config.hub_path} ({config.hub_config})"
    name = config.splits[SPLITS.index(split)]
    builder = _prepared(config, label)
    try:
        dataset = builder.as_dataset(split=name)
    except ValueError as error:  # an unknown split, or a part such as train[:50%] that has no row
        example = "data.splits=['train[:90%]','train[90%:95%]','train[95%:]']"
        raise DataError(
            f"data.splits: cannot read {name!r} of {label} ({error}); name the splits for train, valid and test, or "
            f"parts of one, for example {example}"
        ) from error
    column = config.text_column
    if column not in dataset.column_names:
        raise DataError(
            f"{label}: has no column {column!r} (got {', '.join(dataset.column_names)}); set data.text_column=NAME"
        )
    kind = getattr(dataset.features[column], "dtype", "lists")
    if kind not in ("string", "large_string"):
        raise DataError(f"data.text_column={column}: must be text (got {kind} in {label}); choose another column")
    dataset = dataset.select_columns([column])
    return LineSource(f"{label}, {name}", _TextColumn(dataset), size_hint=dataset.data.nbytes)


class _TextColumn:
    """The only column of a dataset, read in batches; a missing text is empty."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __iter__(self) -> Iterator[str]:
        for batch in self._dataset.iter(batch_size=1000):
            (texts,) = batch.values()
            yield from (text or "" for text in texts)


def _prepared(config: DataConfig, label: str) -> Any:
    """The dataset's builder, after it has read the files of every split."""
    assert config.hub_path, "checked by the caller"
    folder = Path(config.hub_path).expanduser()
    if folder.is_dir():
        return _prepared_folder(folder, config.hub_config, label)
    if config.hub_path.startswith(("/", ".", "~")):
        raise DataError(
            f"data.hub_path={config.hub_path}: no such folder; use a folder in the hub's layout, or a dataset on "
            "the hub, such as Salesforce/wikitext"
        )
    return _prepared_download(config.hub_path, config.hub_config, config.hub_revision, label)


def _prepared_folder(folder: Path, config: str | None, label: str) -> Any:
    import datasets

    # a copy of some of the files may lack the README.md that lists the configs; each is in its own folder
    if config is not None and (folder / config).is_dir() and not (folder / "README.md").is_file():
        folder, config = folder / config, None
    try:
        builder = datasets.load_dataset_builder(str(folder), config)
        builder.download_and_prepare()
    except (datasets.exceptions.DatasetsError, ValueError, OSError, RuntimeError) as error:
        _reraise_disk_error(error)
        raise DataError(
            f"{label}: cannot load the dataset in this folder ({_reason(error)}); data.hub_path must be a folder in "
            "the hub's layout, such as a complete download, and data.hub_config one of its configs"
        ) from error
    return builder


def _prepared_download(path: str, config: str | None, revision: str | None, label: str) -> Any:
    import datasets

    try:
        with _offline_if_unreachable() as reachable:
            builder = datasets.load_dataset_builder(path, config, revision=revision)
            builder.download_and_prepare()
    except datasets.exceptions.DatasetNotFoundError as error:
        wrong = "data.hub_path" if revision is None else "data.hub_path or data.hub_revision"
        raise CorpusUnreachableError(
            f"data.hub_path={path}: {_reason(error)} correct {wrong}, sign in with `hf auth login` if the dataset is "
            f"private or gated, or {_ALTERNATIVES}"
        ) from error
    except Exception as error:
        _reraise_disk_error(error)
        if isinstance(error, (ValueError, datasets.exceptions.DatasetsError, RuntimeError)) and reachable:
            # the hub answered, so it is the dataset or its config
            raise DataError(
                f"{label}: cannot load this dataset ({_reason(error)}); set data.hub_config to one of its configs, or "
                "use another dataset"
            ) from error
        # httpx, huggingface_hub and datasets raise many different errors without a connection
        raise CorpusUnreachableError(f"{label}: the Hugging Face hub is unreachable; {_ALTERNATIVES}") from error
    return builder


def _reason(error: Exception) -> str:
    """The message of an error and of its cause, on one line."""
    cause = f": {error.__cause__}" if isinstance(error.__cause__, Exception) else ""
    return " ".join(f"{error}{cause}".split())


def _reraise_disk_error(error: BaseException | None) -> None:
    """Raise the cause of ``error`` if it is a full disk or a missing permission."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise error
        if isinstance(error, OSError) and "Not enough disk space" in str(error):  # datasets checks before it writes
            raise OSError(errno.ENOSPC, str(error)) from error
        error = error.__cause__


def _is_reachable() -> bool:
    global _unreachable_since
    import huggingface_hub
    from huggingface_hub import get_session

    # the splits of a corpus are opened one after the other: without a connection only the first one waits
    if time.monotonic() - _unreachable_since < _UNREACHABLE_SECONDS:
        return False
    try:
        get_session().head(huggingface_hub.constants.ENDPOINT, timeout=_PROBE_TIMEOUTS)
    except Exception as error:
        log.debug("the hub is unreachable: %s", error)
        _unreachable_since = time.monotonic()
        return False
    return True


@contextmanager
def _offline_if_unreachable() -> Iterator[bool]:
    """Yield whether the hub is reachable; if not, use offline mode meanwhile, which avoids half a minute of retries."""
    import datasets
    import huggingface_hub

    reachable = _is_reachable()
    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    if not reachable:
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield reachable
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before
