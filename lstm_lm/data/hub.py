"""Datasets on the Hugging Face hub, or lying on disk as they do there."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_lm.errors import UNWRITABLE, CorpusUnreachableError, DataError

_WAYS_OUT = (
    "use text of your own with data=text_files data.dir=FOLDER (train.txt, valid.txt and test.txt), "
    "or the corpus that needs no download with data=python_docs"
)
_PROBE_SECONDS = 5

log = logging.getLogger(__name__)


def local_rows(folder: Path, hub_split: str) -> Any:
    """A split of a config's folder that lies as on the hub: SPLIT-00000-of-00001.parquet.

    Raises:
        DataError: If the files are missing or cannot be read.
    """
    import datasets

    files = sorted(str(path) for path in folder.glob(f"{hub_split}-*.parquet"))
    if not files:
        raise DataError(
            f"{folder}: holds no {hub_split}-*.parquet; data.hub_path must be a dataset's folder in the hub's layout"
        )
    try:
        return datasets.load_dataset("parquet", data_files={hub_split: files}, split=hub_split)
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        _raise_trouble_with_files(error)
        raise DataError(f"{folder}: the Parquet files cannot be read ({error}); fetch them anew") from error


def hub_rows(path: str, config: str, hub_split: str) -> Any:
    """A split of a dataset on the hub, downloaded once.

    Raises:
        CorpusUnreachableError: If the hub cannot be reached, or has no such dataset.
        DataError: If the dataset has no such config or split.
    """
    import datasets

    try:
        with _offline_if_unreachable() as reachable:
            return datasets.load_dataset(path, config, split=hub_split)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise CorpusUnreachableError(
            f"data.hub_path={path}: the hub has no such dataset, or not for you; correct it, or {_WAYS_OUT}"
        ) from error
    except Exception as error:
        _raise_trouble_with_files(error)
        if isinstance(error, ValueError) and reachable:
            # the hub is there, the config is not
            raise DataError(f"data.hub_config={config}: {path} cannot be loaded with it ({error})") from error
        # whatever httpx, huggingface_hub and datasets raise between here and the hub
        raise CorpusUnreachableError(
            f"{path} ({config}): the Hugging Face hub cannot be reached; {_WAYS_OUT}"
        ) from error


def _raise_trouble_with_files(error: BaseException | None) -> None:
    """Raise what lies behind ``error`` if the disk is full or may not be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise error
        if isinstance(error, OSError) and "Not enough disk space" in str(error):  # datasets looks before it writes
            raise OSError(errno.ENOSPC, str(error)) from error
        error = error.__cause__


@contextmanager
def _offline_if_unreachable() -> Iterator[bool]:
    """Whether the hub is there; without it only what was downloaded counts, which spares half a minute of tries."""
    import datasets
    import huggingface_hub
    from huggingface_hub import get_session

    try:
        get_session().head(huggingface_hub.constants.ENDPOINT, timeout=_PROBE_SECONDS)
        reachable = True
    except Exception as error:
        log.debug("the hub does not answer: %s", error)
        reachable = False
    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    if not reachable:
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield reachable
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before
