"""Writing checkpoints so that a killed run leaves a whole one."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from typing_extensions import override

from lstm_lm.errors import CheckpointError
from lstm_lm.text.files import atomic_writer


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file beside the checkpoint, then renames it; reads plain data alone.

    Lightning's own way goes through ``$TMPDIR`` without fsync: on another file system the move is a copy, and a kill
    in its middle leaves a broken checkpoint.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        try:
            with atomic_writer(Path(path)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise CheckpointError(
                f"{path}: the checkpoint cannot be written ({error}); make room on the disk or choose another "
                "folder with hydra.run.dir=FOLDER. An earlier checkpoint of that name is unharmed"
            ) from error
