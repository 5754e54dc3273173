"""Checkpoint metadata, and the check that a run can resume from a checkpoint."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lstm_lm.config.schema import TrainConfig
from lstm_lm.data.config import DataConfig
from lstm_lm.errors import CheckpointError
from lstm_lm.export.checkpoint import CHECKPOINT_FORMAT
from lstm_lm.text.vocabulary import Vocabulary


def build_checkpoint_metadata(
    config: TrainConfig, precision: str, vocabulary: Vocabulary, devices: int, sparse_gradient: bool
) -> dict[str, Any]:
    """Metadata of a run's checkpoints: plain data that is readable without the run's config.

    Args:
        config: Config of the run.
        precision: ``fp32`` or ``bf16``.
        vocabulary: Vocabulary of the network.
        devices: Number of processes; each trains its own columns.
        sparse_gradient: Whether the optimizer keeps its state per embedding row.
    """
    presets = {**config.presets, "default": config.sampling}
    return {
        "format": CHECKPOINT_FORMAT,
        "model": asdict(config.model),
        "vocabulary": vocabulary.to_dict(),
        "tokenizer": config.data.tokenizer,
        "data": asdict(_with_absolute_paths(config.data)),
        "presets": {name: asdict(preset) for name, preset in presets.items()},
        "default_preset": "default",
        "metrics": {},
        "loss": config.loss.name,
        "optimizer": asdict(config.optimizer) | {"sparse_gradient": sparse_gradient},
        "schedule": asdict(config.schedule),
        "averaging": asdict(config.averaging),
        "batching": asdict(config.batching),
        "seed": config.seed,
        "precision": precision,
        "devices": devices,
    }


def _with_absolute_paths(data: DataConfig) -> DataConfig:
    """``data`` with absolute paths, so that a checkpoint can be scored from any working directory."""
    hub_path = data.hub_path
    if hub_path is not None and Path(hub_path).expanduser().is_dir():
        hub_path = _absolute(hub_path)
    return replace(data, dir=_absolute(data.dir), hub_path=hub_path, cache_dir=_absolute(data.cache_dir))


def _absolute(folder: str | None) -> str | None:
    return None if folder is None else str(Path(folder).expanduser().resolve())


def check_resumable(path: Path, saved: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Reject a checkpoint that this run cannot resume from, before training starts.

    Args:
        path: Path of the checkpoint, for the message.
        saved: Metadata of the checkpoint.
        metadata: Metadata of this run.

    Raises:
        CheckpointError: If the two runs would train differently: the restored state would silently override the
            config, or not fit.
    """
    if saved.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path}: format {saved.get('format')} cannot be resumed, only format {CHECKPOINT_FORMAT}; eval, export "
            "and predict still read it; to train from scratch, leave out resume"
        )
    for part in (
        "model",
        "vocabulary",
        "tokenizer",
        "loss",
        "optimizer",
        "schedule",
        "averaging",
        "batching",
        "seed",
        "precision",
        "devices",
    ):
        if saved.get(part) != metadata[part]:
            values = "" if part == "vocabulary" else f" (checkpoint: {saved.get(part)}, config: {metadata[part]})"
            raise CheckpointError(
                f"{path}: was trained with a different {part}{values}; resume with the overrides of the first run"
            )
