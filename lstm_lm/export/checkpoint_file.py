"""Checkpoint files: the archive is verified and its content validated before use."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from lstm_lm.errors import CheckpointError, CheckpointMissingError
from lstm_lm.serialization import check_plain, mapping

_ZIP_MAGIC = b"PK\x03\x04"
_REMEDY = "use another checkpoint of the run"


def load_raw_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ``lstm-lm train``. Only plain data and tensors are unpickled, never code.

    Every entry of the archive is compared with its CRC-32 first: torch does not check it, and would load damaged
    weights.

    Returns:
        Lightning's checkpoint, with this project's metadata, plain data, under ``lstm_lm``.

    Raises:
        CheckpointMissingError: If there is nothing at ``path``.
        CheckpointError: If it is a folder, damaged, holds more than plain data, or is not one of ours.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, not a checkpoint; give a file such as RUN/checkpoints/last.ckpt")
    if not path.is_file():
        raise CheckpointMissingError(path)
    try:
        # opened once: the verified bytes are the loaded ones, even if training replaces the file
        with path.open("rb") as file:
            _verify(path, file)
            content = _unpickle(path, file)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint ({error.strerror or error})") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: is not a checkpoint of lstm-lm (it contains a {type(content).__name__})")
    if "lstm_lm" not in content:
        raise CheckpointError(
            f"{path}: is not a checkpoint of lstm-lm (no 'lstm_lm' metadata); give one from lstm-lm train"
        )
    try:
        metadata = mapping(content["lstm_lm"], "lstm_lm")
        for name, part in metadata.items():
            check_plain(part, name, strict=name != "state")  # the LSTM state consists of tensors
        for name, part in mapping(content, "checkpoint").items():
            check_plain(part, name, strict=False)
    except ValueError as error:
        raise CheckpointError(f"{path}: the checkpoint is not valid: {error}") from error
    return dict(content)


def _verify(path: Path, file: BinaryIO) -> None:
    """Compare every entry of the archive with its checksum."""
    magic = file.read(len(_ZIP_MAGIC))
    if magic != _ZIP_MAGIC:
        what = "is empty" if not magic else "is not a checkpoint"
        raise CheckpointError(f"{path}: {what}; give one from lstm-lm train")
    size = path.stat().st_size
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise CheckpointError(
            f"{path}: the checkpoint is incomplete or damaged (no archive directory at the end of its {size:,} bytes); "
            f"{_REMEDY}"
        ) from error
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    # torch stores without compression, so no entry can unpack to more than the file holds
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or len(names) < len(entries) or sum(entry.file_size for entry in entries) > size:
        raise CheckpointError(f"{path}: is not an archive that torch wrote; give one from lstm-lm train")
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(f"{path}: is a zip archive, but not a checkpoint; give one from lstm-lm train")
    for entry in entries:
        try:
            with archive.open(entry) as content:
                while content.read(1 << 20):
                    pass
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
            part = entry.filename.partition("/")[2]
            raise CheckpointError(
                f"{path}: the checkpoint is damaged ({part} does not match its checksum); {_REMEDY}"
            ) from error


def _unpickle(path: Path, file: BinaryIO) -> Any:
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: contains more than plain data and is not loaded; give one from lstm-lm train"
        ) from error
    except OSError:
        raise
    except Exception as error:  # an untrusted file can make torch raise any exception
        raise CheckpointError(
            f"{path}: is not a checkpoint that torch can read ({type(error).__name__}); give one from lstm-lm train"
        ) from error
