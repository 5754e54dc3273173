"""Read trained models from checkpoints and bundles."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstm_lm.bundle import Bundle, read_bundle
from lstm_lm.data.config import TOKENIZERS, DataConfig
from lstm_lm.errors import BundleError, CheckpointError, DataError
from lstm_lm.evaluation.config import checked_settings
from lstm_lm.export.checkpoint_file import load_raw_checkpoint
from lstm_lm.export.model_path import resolve_model_path
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.loading import WEIGHTS
from lstm_lm.inference.torch_backend import build_network, load_network
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.serialization import dataclass_from_plain, field_of, mapping, upgrade_format_1
from lstm_lm.text.vocabulary import Vocabulary

CHECKPOINT_FORMAT = 2
_MAX_PRESETS, _MAX_PATH = 1000, 4096
TUNED = "tuned"
"""Key of the tuned settings in the metadata, written by ``lstm-lm eval``."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with everything that scoring, export and inference need."""

    path: Path
    """The checkpoint or bundle."""
    model: LSTMLanguageModel
    """The network, in eval mode."""
    config: ModelConfig
    vocabulary: Vocabulary
    tokenizer: str
    """Name of the tokenizer of the training corpus."""
    data: DataConfig
    """The training corpus."""
    presets: dict[str, SamplingConfig]
    """Sampling presets by name."""
    default_preset: str
    """The preset for requests that name none."""
    metrics: dict[str, Any]
    """Scores by split."""
    tuned: dict[str, dict[str, float]] = field(default_factory=dict)
    """Settings from ``lstm-lm eval … tune=true``, by evaluation; a bundle has none."""


def load_trained(path: Path) -> TrainedModel:
    """Read a checkpoint, a bundle or a run folder, as ``resolve_model_path`` takes it.

    Raises:
        CheckpointError: As in :func:`read_checkpoint`.
        BundleError: As in ``read_bundle``, or if the weights do not fit.
    """
    path = resolve_model_path(path)
    return _from_bundle(read_bundle(path)) if path.is_dir() else read_checkpoint(path)


def read_checkpoint(path: Path) -> TrainedModel:
    """Read the model of a checkpoint of ``lstm-lm train``.

    Raises:
        CheckpointError: If it is missing, damaged, not from ``lstm-lm train``, of a newer format, or inconsistent.
    """
    content = load_raw_checkpoint(path)
    try:
        return _from_metadata(path, mapping(content["lstm_lm"], "lstm_lm"), content)
    except (ValueError, DataError) as error:
        reason = textwrap.shorten(str(error), 1000, placeholder=" …")
        raise CheckpointError(
            f"{path}: the checkpoint is inconsistent: {reason}; use another checkpoint of the run"
        ) from error


def _from_metadata(path: Path, metadata: Mapping[str, Any], content: Mapping[str, Any]) -> TrainedModel:
    version = field_of(metadata, "format", int)
    if not 1 <= version <= CHECKPOINT_FORMAT:
        raise ValueError(f"format: must be from 1 to {CHECKPOINT_FORMAT} (got {version}); update lstm-lm")
    if version == 1:
        metadata = upgrade_format_1(metadata)
    config = dataclass_from_plain(ModelConfig, metadata.get("model"), "model")
    vocabulary = Vocabulary.from_dict(field_of(metadata, "vocabulary", dict))
    saved_presets = field_of(metadata, "presets", dict)
    if len(saved_presets) > _MAX_PRESETS:
        raise ValueError(f"presets: at most {_MAX_PRESETS} (got {len(saved_presets)})")
    presets = {
        name: dataclass_from_plain(SamplingConfig, preset, f"presets.{name}") for name, preset in saved_presets.items()
    }
    tokenizer = field_of(metadata, "tokenizer", str)
    problems = [f"model.{problem}" for problem in config.problems()]
    problems += [f"presets.{name}.{problem}" for name, preset in presets.items() for problem in preset.problems()]
    if tokenizer not in TOKENIZERS:
        problems.append(f"tokenizer: unknown (got {tokenizer!r})")
    if problems:
        raise ValueError("; ".join(problems))
    default_preset = field_of(metadata, "default_preset", str)
    if default_preset not in presets:
        raise ValueError(f"default_preset: unknown (got {default_preset!r}); use one of {', '.join(presets)}")
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in mapping(content.get("state_dict"), "state_dict").items()
        if name.startswith("model.")
    }
    data = dataclass_from_plain(DataConfig, metadata.get("data"), "data")
    for name, value in vars(data).items():
        if isinstance(value, str) and len(value) > _MAX_PATH:
            raise ValueError(f"data.{name}: is longer than any path ({len(value)} characters)")
    return TrainedModel(
        path=path,
        model=build_network(config, len(vocabulary), weights),
        config=config,
        vocabulary=vocabulary,
        tokenizer=tokenizer,
        data=data,
        presets=presets,
        default_preset=default_preset,
        metrics=field_of(metadata, "metrics", dict),
        tuned={
            name: checked_settings(name, mapping(settings, f"{TUNED}.{name}"))
            for name, settings in mapping(metadata.get(TUNED, {}), TUNED).items()
        },
    )


def _from_bundle(bundle: Bundle) -> TrainedModel:
    try:
        model = load_network(bundle.model, len(bundle.vocabulary), bundle.path / WEIGHTS)
        data = dataclass_from_plain(DataConfig, bundle.data, "data")
    except ValueError as error:
        raise BundleError(f"{bundle.path}: {error}; export the checkpoint again") from error
    return TrainedModel(
        path=bundle.path,
        model=model,
        config=bundle.model,
        vocabulary=bundle.vocabulary,
        tokenizer=bundle.tokenizer,
        data=data,
        presets=bundle.presets,
        default_preset=bundle.default_preset,
        metrics=bundle.metrics,
    )
