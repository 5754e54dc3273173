"""What a checkpoint records of its run, and whether another run can resume from it."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lstm_lm.checkpoint import CHECKPOINTS, Checkpoint, CheckpointMetadata, read_checkpoint
from lstm_lm.data.encoding import EncodedCorpus
from lstm_lm.errors import CheckpointError
from lstm_lm.saved_model import FORMAT
from lstm_lm.training.config import RESUME_AUTO, TrainConfig
from lstm_lm.training.schedules import follows_length

log = logging.getLogger(__name__)

# what a resumed run must have in common with the first one, besides model, words and tokenizer
_REQUIRED = ("text", "loss", "optimizer", "schedule", "averaging", "batching", "seed")
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
    "trainer.reference_epochs",
    "trainer.reference_steps",
    "trainer.threads",
    "trainer.arguments",
    "trainer.devices",
    "trainer.num_nodes",
    *_LENGTH,
)


def run_record(
    config: TrainConfig, precision: str, corpus: EncodedCorpus, devices: int, sparse_gradient: bool
) -> dict[str, Any]:
    """The settings of a run that its checkpoints record, for a run that resumes from them.

    Args:
        config: Config of the run.
        precision: ``fp32`` or ``bf16``.
        corpus: The encoded corpus.
        devices: Number of processes; each trains on its own streams.
        sparse_gradient: Whether the optimizer keeps its state per embedding row.
    """
    return {
        "text": {split: corpus.sha256[split] for split in ("train", "valid")},
        "loss": config.loss.name,
        "optimizer": {**config.optimizer, "sparse_gradient": sparse_gradient},
        "schedule": dict(config.schedule),
        "averaging": asdict(config.averaging),
        "batching": asdict(config.batching),
        "seed": config.seed,
        "precision": precision,
        "devices": devices,
        "changeable": {"trainer.precision": precision, **{key: _value(config, key) for key in _CHANGEABLE}},
    }


def find_resumed(config: TrainConfig, run_dir: Path) -> Checkpoint | None:
    """Read the checkpoint that a run resumes from; ``None`` if it starts from the beginning.

    Raises:
        CheckpointError: If it cannot be read; with ``resume=auto``, if the run folder has checkpoints, but none of them
            can.
    """
    if config.resume == RESUME_AUTO:
        return newest_checkpoint(run_dir)
    return None if config.resume is None else read_checkpoint(Path(config.resume))


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of a run folder that can be read; ``None`` if the folder has no checkpoint.

    Raises:
        CheckpointError: If there are checkpoints, but none can be read.
    """
    files = sorted((folder / CHECKPOINTS).glob("*.ckpt"), key=lambda file: (file.stat().st_mtime, file.name))
    problem: CheckpointError | None = None
    for file in reversed(files):  # best.ckpt and last.ckpt may be the same file: last.ckpt comes first
        try:
            return read_checkpoint(file)
        except CheckpointError as error:
            log.warning("%s", error)
            problem = problem or error
    if problem is not None:
        raise CheckpointError(
            f"{problem}; no checkpoint in {folder / CHECKPOINTS} can be read: move the folder away to start again"
        )
    return None


def check_resumable(saved: Checkpoint, metadata: CheckpointMetadata) -> None:
    """Reject a checkpoint that this run cannot resume from, before training starts.

    Args:
        saved: The checkpoint.
        metadata: Metadata of this run.

    Raises:
        CheckpointError: If the two runs would train differently: the restored state would silently override the
            config, or not fit.
    """
    if saved.format != FORMAT:
        raise CheckpointError(
            f"{saved.path}: format {saved.format} cannot be resumed, only format {FORMAT}; eval, export and predict "
            "still read it; to train from scratch, leave out resume"
        )
    differing = _differences("model", asdict(saved.metadata.model), asdict(metadata.model))
    if saved.vocabulary != metadata.vocabulary:
        sizes = f"{len(saved.vocabulary):,} words in the checkpoint and {len(metadata.vocabulary):,} now"
        differing.append(f"vocabulary of {sizes}")
    differing += _differences("tokenizer", saved.metadata.tokenizer, metadata.tokenizer)
    for part in _REQUIRED:
        if part in saved.metadata.run or part != "text":  # checkpoints of earlier versions do not identify their text
            differing += _differences(part, _part(saved.metadata.run, part), _part(metadata.run, part))
    if differing:
        parts = ", ".join(dict.fromkeys(line.partition(" ")[0].partition(".")[0] for line in differing))
        raise CheckpointError(
            f"{saved.path}: was trained with a different {parts} ({'; '.join(differing)}); resume with the overrides "
            "of the first run"
        )


def log_changed_settings(saved: Checkpoint, metadata: CheckpointMetadata) -> None:
    """Warn of the settings that may differ between a run and the checkpoint that it resumes from."""
    before, now = saved.metadata.run.get("changeable"), metadata.run["changeable"]
    if not isinstance(before, dict):
        return
    if not follows_length(metadata.run["schedule"]):
        before = {key: value for key, value in before.items() if key not in _LENGTH}
    changed = [
        f"{key} (checkpoint: {before[key]}, now: {now[key]})"
        for key in now
        if key in before and before[key] != now[key]
    ]
    if changed:
        log.warning("%s: the run continues with other settings than it began with: %s", saved.path, ", ".join(changed))


def _part(run: Mapping[str, Any], name: str) -> Any:
    """A part of a run's record; the number of streams is that of all processes, which may share them differently."""
    part, processes = run.get(name), run.get("devices")
    if name == "batching" and isinstance(part, dict) and isinstance(processes, int) and processes > 1:
        return {**part, "batch_size": part.get("batch_size", 0) * processes}
    return part


def _differences(path: str, before: Any, now: Any) -> list[str]:
    """The settings that differ, one line per key."""
    if path == "text" and isinstance(before, Mapping):
        names = [f"{split}.txt" for split in now if before.get(split) != now[split]]
        return [f"text in {' and '.join(names)}"] if names else []
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*now, *before))
        return [line for key in keys for line in _differences(f"{path}.{key}", before.get(key), now.get(key))]
    return [] if before == now else [f"{path} is {before} in the checkpoint and {now} now"]


def _value(config: TrainConfig, key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = getattr(node, name)
    return node
