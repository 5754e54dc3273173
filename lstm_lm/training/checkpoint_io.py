"""Atomic checkpoint writes: a killed run leaves a complete checkpoint."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lstm_lm.errors import CheckpointError
from lstm_lm.export.checkpoint import TUNED
from lstm_lm.export.checkpoint_file import load_raw_checkpoint
from lstm_lm.text.files import atomic_writer


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file next to the checkpoint, syncs it to disk, then renames it.

    Lightning writes to ``$TMPDIR`` without fsync and moves the file. On another file system this move is a copy, and a
    process killed during the copy leaves a damaged checkpoint.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        try:
            _write(checkpoint, Path(path))
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise CheckpointError(
                f"{path}: cannot write the checkpoint ({error}); free disk space or choose another folder with "
                "hydra.run.dir=FOLDER. An earlier checkpoint at this path is intact"
            ) from error

    @override
    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint, verified, to the CPU; Lightning moves it from there."""
        return load_raw_checkpoint(Path(path))


def save_tuned(path: Path, evaluation: str, settings: dict[str, float], modified: int) -> None:
    """Put tuned settings into the record of a checkpoint; everything else in it stays, so it can be resumed as before.

    Args:
        path: The checkpoint.
        evaluation: Which evaluation they are for; settings of others stay.
        settings: By name.
        modified: When the file was last modified (``st_mtime_ns``) as its model was read: a newer one is another model.

    Raises:
        CheckpointError: If it was written anew in the meantime, or cannot be written; that message has the settings.
    """
    content = load_raw_checkpoint(path)
    if path.stat().st_mtime_ns != modified:
        raise CheckpointError(
            f"{path}: was written anew while its settings were tuned, so they are not saved; tune it again when its "
            "training is over"
        )
    record = content["lstm_lm"]
    content["lstm_lm"] = {**record, TUNED: {**record.get(TUNED, {}), evaluation: settings}}
    try:
        _write(content, path)
    except (OSError, RuntimeError) as error:
        found = " ".join(f"evaluation.{name}={value:g}" for name, value in settings.items())
        raise CheckpointError(
            f"{path}: the tuned settings cannot be saved with it ({error}); give them by hand: "
            f"evaluation={evaluation} {found}"
        ) from error


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with atomic_writer(path) as file:
        torch.save(checkpoint, file)
