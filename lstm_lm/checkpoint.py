"""The resumable artifact: a file that is verified before it is used, and that never makes code run.

It is Lightning's checkpoint, with the model's metadata, plain data, under ``lstm_lm``.
"""

import pickle
import textwrap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lstm_lm.errors import CheckpointError, CheckpointMissingError, ConfigError, DataError
from lstm_lm.evaluation.config import checked_settings
from lstm_lm.inference.backend import Backend
from lstm_lm.saved_model import ModelMetadata, SavedModel
from lstm_lm.serialization import check_plain, field_of, mapping
from lstm_lm.text.files import atomic_writer
from lstm_lm.text.vocabulary import Vocabulary

# torch is imported by the functions that need it: bundles are loaded without it
if TYPE_CHECKING:
    from lstm_lm.nn.model import LSTMLanguageModel

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in a run folder."""
BEST, LAST = "best.ckpt", "last.ckpt"
"""The checkpoint to score and export, and the one to resume from."""
METRICS = "metrics.json"
"""What a run reports at its end, beside the folder of the checkpoints."""
METADATA = "lstm_lm"
"""Key of the metadata in the file."""
_TUNED = "tuned"

_ZIP_MAGIC = b"PK\x03\x04"
_REMEDY = "use another checkpoint of the run"


@dataclass(frozen=True, kw_only=True)
class CheckpointMetadata(ModelMetadata):
    """What a checkpoint records besides weights and training state."""

    vocabulary: Vocabulary
    run: dict[str, Any] = field(default_factory=dict)
    """Settings and progress of the run, by name: plain data, compared when a run resumes."""
    tuned: dict[str, dict[str, float]] = field(default_factory=dict)
    """Settings from ``lstm-lm eval … tune=true``, by evaluation."""

    def to_plain(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        plain = super().to_plain() | {"vocabulary": self.vocabulary.to_dict()} | self.run
        return plain | {_TUNED: self.tuned} if self.tuned else plain

    @classmethod
    def _fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        fields = super()._fields(record)
        fields["vocabulary"] = Vocabulary.from_dict(field_of(record, "vocabulary", dict))
        fields[_TUNED] = {
            name: checked_settings(name, mapping(settings, f"{_TUNED}.{name}"))
            for name, settings in mapping(record.get(_TUNED, {}), _TUNED).items()
        }
        fields["run"] = {name: value for name, value in record.items() if name not in {*fields, "format"}}
        return fields


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint(SavedModel):
    """A checkpoint of ``lstm-lm train``: see :func:`read_checkpoint`."""

    metadata: CheckpointMetadata
    content: dict[str, Any] = field(repr=False)
    """Lightning's checkpoint: weights, and the state of optimizer, callbacks and loops."""
    mtime_ns: int
    """Modification time of the file when it was read."""

    @property
    def name(self) -> str:
        """Name of the file, after the name of its run."""
        folder = self.path.resolve().parent
        return f"{folder.parent.name}/{self.path.name}" if folder.name == CHECKPOINTS else self.path.name

    @property
    def format(self) -> int:
        """Format of the file; the metadata is upgraded to the newest one."""
        return int(self.content[METADATA]["format"])

    @property
    def tuned(self) -> dict[str, dict[str, float]]:
        """Settings from ``lstm-lm eval … tune=true``, by evaluation."""
        return self.metadata.tuned

    @property
    def num_parameters(self) -> int:
        """See :attr:`SavedModel.num_parameters`."""
        return self.network.num_parameters

    def _build_network(self) -> "LSTMLanguageModel":
        from lstm_lm.inference.torch_backend import build_network

        try:
            weights = {
                name.removeprefix("model."): tensor
                for name, tensor in mapping(self.content.get("state_dict"), "state_dict").items()
                if name.startswith("model.")
            }
            return build_network(self.metadata.model, len(self.vocabulary), weights)
        except ValueError as error:
            raise _inconsistent(self.path, error) from error

    def backend(self, choice: str = "auto", threads: int = 0) -> Backend:
        """See :meth:`SavedModel.backend`; a checkpoint runs on torch only."""
        from lstm_lm.inference.torch_backend import TorchBackend

        if choice not in ("auto", "torch"):
            raise ConfigError([f"backend: a checkpoint runs on torch only (got {choice!r}); export {self.path} first"])
        return TorchBackend(self.network, threads)

    def save_tuned(self, evaluation: str, settings: dict[str, float]) -> None:
        """Save tuned settings in the file; the rest of it is unchanged, so it can still be resumed.

        Args:
            evaluation: The evaluation that they were tuned for; those of other evaluations are kept.
            settings: By name.

        Raises:
            CheckpointError: If the file has changed since it was read, or cannot be written; that message contains the
                settings.
        """
        if self.path.stat().st_mtime_ns != self.mtime_ns:
            raise CheckpointError(
                f"{self.path}: changed while its settings were tuned, so they are not saved; tune again when training "
                "is done"
            )
        record = self.content[METADATA]
        record = {**record, _TUNED: {**record.get(_TUNED, {}), evaluation: settings}}
        try:
            write_checkpoint(self.path, {**self.content, METADATA: record})
        except (OSError, RuntimeError) as error:
            overrides = " ".join(f"evaluation.{name}={value:g}" for name, value in settings.items())
            remedy = f"pass them on the command line: evaluation={evaluation} {overrides}"
            if evaluation.startswith("mixture"):  # the command line has no settings for its weights
                remedy = "free some space or make the file writable, then tune again"
            raise CheckpointError(f"{self.path}: cannot save the tuned settings ({error}); {remedy}") from error


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Raises:
        OSError, RuntimeError: If it cannot be written; torch reports a full disk as a RuntimeError.
    """
    import torch

    with atomic_writer(path) as file:
        torch.save(content, file)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of ``lstm-lm train``. Only plain data and tensors are unpickled, never code.

    Every entry of the archive is compared with its CRC-32 first: torch does not check it, and would load damaged
    weights. Its ``network`` is built, and its weights are checked, when it is used.

    Raises:
        CheckpointMissingError: If there is nothing at ``path``.
        CheckpointError: If it is a folder, damaged, holds more than plain data, is not from ``lstm-lm train``, has a
            newer format or is inconsistent.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, not a checkpoint; give a file such as RUN/{CHECKPOINTS}/{LAST}")
    if not path.is_file():
        raise CheckpointMissingError(path)
    try:
        # opened once: the verified bytes are the loaded ones, even if training replaces the file
        with path.open("rb") as file:
            _verify(path, file)
            content, mtime_ns = _unpickle(path, file), path.stat().st_mtime_ns
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint ({error.strerror or error})") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: is not a checkpoint of lstm-lm (it contains a {type(content).__name__})")
    if METADATA not in content:
        raise CheckpointError(
            f"{path}: is not a checkpoint of lstm-lm (no {METADATA!r} metadata); give one from lstm-lm train"
        )
    try:
        record = mapping(content[METADATA], METADATA)
        for name, part in record.items():
            check_plain(part, name, strict=name != "state")  # the LSTM state consists of tensors
        for name, part in mapping(content, "checkpoint").items():
            check_plain(part, name, strict=False)
        metadata = CheckpointMetadata.from_plain(record)
    except (ValueError, DataError) as error:
        raise _inconsistent(path, error) from error
    return Checkpoint(
        path=path, metadata=metadata, vocabulary=metadata.vocabulary, content=dict(content), mtime_ns=mtime_ns
    )


def _inconsistent(path: Path, error: Exception) -> CheckpointError:
    reason = textwrap.shorten(str(error), 1000, placeholder=" …")
    return CheckpointError(f"{path}: the checkpoint is inconsistent: {reason}; {_REMEDY}")


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
    import torch

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
