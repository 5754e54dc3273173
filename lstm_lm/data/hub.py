"""Datasets of the Hugging Face hub, from the hub or from a local folder."""

import errno
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_lm.errors import UNWRITABLE, CorpusUnreachableError, DataError

_ALTERNATIVES = (
    "use your own text with data=text_files data.dir=FOLDER (train.txt, valid.txt and test.txt), or data=python_docs, "
    "which needs no download"
)
_PROBE_TIMEOUTS = (2.0, 5.0, 5.0, 5.0)  # seconds to connect, read, write, and wait for a free connection
_UNREACHABLE_SECONDS = 60.0  # an unreachable hub is not tried again for so long
_unreachable_since = -math.inf

log = logging.getLogger(__name__)


def local_rows(folder: Path, hub_split: str) -> Any:
    """Load a split from a config's folder in the hub's layout: SPLIT-00000-of-00001.parquet.

    Raises:
        DataError: If the files are missing or unreadable.
    """
    import datasets

    files = sorted(str(path) for path in folder.glob(f"{hub_split}-*.parquet"))
    if not files:
        raise DataError(
            f"{folder}: no {hub_split}-*.parquet found; data.hub_path must be a dataset folder in the hub's layout"
        )
    try:
        return datasets.load_dataset("parquet", data_files={hub_split: files}, split=hub_split)
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        _reraise_disk_error(error)
        raise DataError(f"{folder}: the Parquet files are unreadable ({error}); download them again") from error


def hub_rows(path: str, config: str, hub_split: str) -> Any:
    """Load a split of a dataset on the hub; it is downloaded once.

    Raises:
        CorpusUnreachableError: If the hub is unreachable or does not have the dataset.
        DataError: If the dataset does not have the config or split.
    """
    import datasets

    try:
        with _offline_if_unreachable() as reachable:
            return datasets.load_dataset(path, config, split=hub_split)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise CorpusUnreachableError(
            f"data.hub_path={path}: the hub has no public dataset of this name; correct the name, or {_ALTERNATIVES}"
        ) from error
    except Exception as error:
        _reraise_disk_error(error)
        if isinstance(error, ValueError) and reachable:
            # the hub answered, so the config is wrong
            raise DataError(
                f"data.hub_config={config}: cannot load {path} with this config ({error}); use a config of the dataset"
            ) from error
        # httpx, huggingface_hub and datasets raise many different errors without a connection
        raise CorpusUnreachableError(
            f"{path} ({config}): the Hugging Face hub is unreachable; {_ALTERNATIVES}"
        ) from error


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
