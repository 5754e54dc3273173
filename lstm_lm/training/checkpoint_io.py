"""Atomic checkpoint writes: a killed run leaves a complete checkpoint."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lstm_lm.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from lstm_lm.errors import CheckpointError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file next to the checkpoint, syncs it to disk, then renames it.

    Lightning writes to ``$TMPDIR`` without fsync and moves the file. On another file system this move is a copy, and a
    process killed during the copy leaves a damaged checkpoint.

    Attributes:
        restored: The checkpoint that the run resumes from, if it has been read already; used once.
    """

    restored: Checkpoint | None = None

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        try:
            write_checkpoint(Path(path), checkpoint)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: cannot write the checkpoint ({error}); free disk space or choose another folder with "
                "hydra.run.dir=FOLDER. An earlier checkpoint at this path is intact"
            ) from error

    @override
    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a verified checkpoint to the CPU; Lightning moves its tensors from there."""
        restored, self.restored = self.restored, None
        if restored is not None and restored.path == Path(path):
            return restored.content
        return read_checkpoint(Path(path)).content
