"""Atomic checkpoint writes: a killed run leaves a complete checkpoint."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lstm_lm.errors import CheckpointError
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
            with atomic_writer(Path(path)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise CheckpointError(
                f"{path}: cannot write the checkpoint ({error}); free disk space or choose another folder with "
                "hydra.run.dir=FOLDER. An earlier checkpoint at this path is intact"
            ) from error

    @override
    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a verified checkpoint to the CPU; Lightning moves its tensors from there."""
        return load_raw_checkpoint(Path(path))
