"""What a checkpoint says about itself, and whether a run can go on from it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lstm_lm.config.schema import TrainConfig
from lstm_lm.data.config import DataConfig
from lstm_lm.errors import CheckpointError
from lstm_lm.export.checkpoint import CHECKPOINT_FORMAT
from lstm_lm.text.vocabulary import Vocabulary


def checkpoint_record(
    config: TrainConfig, precision: str, vocabulary: Vocabulary, devices: int, sparse_gradient: bool
) -> dict[str, Any]:
    """What a checkpoint says about itself: plain data that is read without this config.

    Args:
        config: Of the run.
        precision: ``fp32`` or ``bf16``.
        vocabulary: The network's words.
        devices: Number of processes, each of which trains its own columns.
        sparse_gradient: Whether the optimizer keeps its state of words by rows.
    """
    presets = {**config.presets, "default": config.sampling}
    return {
        "format": CHECKPOINT_FORMAT,
        "model": asdict(config.model),
        "vocabulary": vocabulary.to_dict(),
        "tokenizer": config.data.tokenizer,
        "data": asdict(_from_anywhere(config.data)),
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


def _from_anywhere(data: DataConfig) -> DataConfig:
    """The same corpus with absolute places, so that the checkpoint is scored from any working directory."""
    hub_path = data.hub_path
    if hub_path is not None and Path(hub_path).expanduser().is_dir():
        hub_path = _absolute(hub_path)
    return replace(data, dir=_absolute(data.dir), hub_path=hub_path, cache_dir=_absolute(data.cache_dir))


def _absolute(folder: str | None) -> str | None:
    return None if folder is None else str(Path(folder).expanduser().resolve())


def check_resumable(path: Path, saved: dict[str, Any], record: dict[str, Any]) -> None:
    """Refuse a checkpoint that this run cannot go on from, before anything is trained.

    Args:
        path: Where it lies, for the message.
        saved: What the checkpoint says about itself.
        record: What this run's own checkpoints say.

    Raises:
        CheckpointError: If it is of a run whose steps would have been others: what it restores would silently win over
            the config, or not fit.
    """
    if saved.get("format") != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{path}: has format {saved.get('format')}, and only format {CHECKPOINT_FORMAT} can be resumed; eval, "
            "export and predict still read it; to train again, leave out resume"
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
        if saved.get(part) != record[part]:
            shown = "" if part == "vocabulary" else f" (it has {saved.get(part)}, the config {record[part]})"
            raise CheckpointError(
                f"{path}: was trained with another {part}{shown}; resume with the overrides of the first run"
            )
