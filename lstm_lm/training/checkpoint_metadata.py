"""Checkpoint metadata, and the check that a run can resume from a checkpoint."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lstm_lm.config.schema import TrainConfig
from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import Ids
from lstm_lm.errors import CheckpointError
from lstm_lm.export.checkpoint import CHECKPOINT_FORMAT
from lstm_lm.nn.cells import DEFAULT_CELL
from lstm_lm.text.vocabulary import Vocabulary

log = logging.getLogger(__name__)

# what a resumed run must have in common with the first one
_REQUIRED = (
    "model",
    "vocabulary",
    "text",
    "tokenizer",
    "loss",
    "optimizer",
    "schedule",
    "averaging",
    "batching",
    "seed",
    "precision",
    "devices",
)
# the length of the run, which its schedule depends on
_LENGTH = ("trainer.budget", "trainer.max_epochs", "trainer.max_steps")
# what may differ, with a warning
_CHANGEABLE = (
    "loss.activation_reg",
    "loss.temporal_activation_reg",
    "loss.num_frequent",
    "loss.num_sampled",
    "trainer.gradient_clip_val",
    "trainer.limit_train_batches",
    "trainer.limit_val_batches",
    "trainer.dropout_reference_epochs",
    *_LENGTH,
)


def build_checkpoint_metadata(
    config: TrainConfig,
    precision: str,
    vocabulary: Vocabulary,
    splits: Mapping[str, Ids],
    devices: int,
    sparse_gradient: bool,
) -> dict[str, Any]:
    """Metadata of a run's checkpoints: plain data that is readable without the run's config.

    Args:
        config: Config of the run.
        precision: ``fp32`` or ``bf16``.
        vocabulary: Vocabulary of the network.
        splits: The encoded corpus.
        devices: Number of processes; each trains on its own streams.
        sparse_gradient: Whether the optimizer keeps its state per embedding row.
    """
    presets = {**config.presets, "default": config.sampling}
    return {
        "format": CHECKPOINT_FORMAT,
        "model": asdict(config.model.with_all_options()),
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
        "text": {split: hashlib.sha256(splits[split].tobytes()).hexdigest() for split in ("train", "valid")},
        "changeable": {key: _value(config, key) for key in _CHANGEABLE},
        "seed": config.seed,
        "precision": precision,
        "devices": devices,
    }


def _with_absolute_paths(data: DataConfig) -> DataConfig:
    """``data`` with absolute paths, so that a checkpoint can be scored from any working directory."""
    hub_path = data.hub_path
    if hub_path is not None and Path(hub_path).expanduser().is_dir():
        hub_path = _absolute(hub_path)
    return replace(
        data,
        dir=_absolute(data.dir),
        file=_absolute(data.file),
        hub_path=hub_path,
        cache_dir=_absolute(data.cache_dir),
    )


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().resolve())


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
    differing = []
    for part in _REQUIRED:
        if part in saved or part != "text":  # checkpoints of earlier versions have no fingerprint of the text
            before = saved.get(part)
            if part == "model":  # the only cell of earlier versions
                before = {"cell": DEFAULT_CELL, "cell_options": {}} | saved["model"]
            differing += _differences(part, before, metadata[part])
    if differing:
        parts = ", ".join(dict.fromkeys(line.partition(" ")[0].partition(".")[0] for line in differing))
        raise CheckpointError(
            f"{path}: was trained with a different {parts} ({'; '.join(differing)}); resume with the overrides of the "
            "first run"
        )


def log_changed_settings(path: Path, saved: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Warn of the settings that may differ between a run and the checkpoint that it resumes from."""
    before, now = dict(saved.get("changeable", {})), metadata["changeable"]
    if metadata["schedule"]["name"] in ("constant", "plateau"):  # they do not depend on the length of the run
        before = {key: value for key, value in before.items() if key not in _LENGTH}
    changed = [
        f"{key} (checkpoint: {before[key]}, now: {now[key]})"
        for key in now
        if key in before and before[key] != now[key]
    ]
    if changed:
        log.warning("%s: the run continues with other settings than it began with: %s", path, ", ".join(changed))


def _differences(path: str, before: Any, now: Any) -> list[str]:
    """The settings that differ, one line per key."""
    if isinstance(before, dict) and isinstance(now, dict) and path not in ("vocabulary", "text"):
        keys = dict.fromkeys((*now, *before))
        return [line for key in keys for line in _differences(f"{path}.{key}", before.get(key), now.get(key))]
    if before == now:
        return []
    if path == "vocabulary":
        return [f"vocabulary of {len(before['words']):,} words in the checkpoint and {len(now['words']):,} now"]
    if path == "text":
        names = [f"{split}.txt" for split in now if before.get(split) != now[split]]
        return [f"text in {' and '.join(names)}"]
    return [f"{path} is {before} in the checkpoint and {now} now"]


def _value(config: TrainConfig, key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = getattr(node, name)
    return node
