"""Tuned evaluation settings, saved in the checkpoint of their model."""

from pathlib import Path

import torch

from lstm_lm.errors import CheckpointError
from lstm_lm.export.checkpoint import TUNED
from lstm_lm.export.checkpoint_file import load_raw_checkpoint
from lstm_lm.text.files import atomic_writer


def save_tuned(path: Path, evaluation: str, settings: dict[str, float], expected_mtime_ns: int) -> None:
    """Save tuned settings in a checkpoint; the rest of it is unchanged, so it can still be resumed.

    Args:
        path: The checkpoint.
        evaluation: The evaluation that they were tuned for; those of other evaluations are kept.
        settings: By name.
        expected_mtime_ns: Modification time of the file (``st_mtime_ns``) when its model was read; another time means
            another model.

    Raises:
        CheckpointError: If the file changed since then, or cannot be written; that message contains the settings.
    """
    content = load_raw_checkpoint(path)
    if path.stat().st_mtime_ns != expected_mtime_ns:
        raise CheckpointError(
            f"{path}: changed while its settings were tuned, so they are not saved; tune again when training is done"
        )
    metadata = content["lstm_lm"]
    content["lstm_lm"] = {**metadata, TUNED: {**metadata.get(TUNED, {}), evaluation: settings}}
    try:
        with atomic_writer(path) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        overrides = " ".join(f"evaluation.{name}={value:g}" for name, value in settings.items())
        remedy = f"pass them on the command line: evaluation={evaluation} {overrides}"
        if evaluation.startswith("mixture"):  # its weights are no settings of the command line
            remedy = "make the file writable or free some space, then tune again"
        raise CheckpointError(f"{path}: cannot save the tuned settings ({error}); {remedy}") from error
