"""Trained models out of checkpoints and bundles."""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lstm_lm.bundle import Bundle, read_bundle
from lstm_lm.data.config import DataConfig
from lstm_lm.errors import BundleError, CheckpointError, CheckpointMissingError, DataError
from lstm_lm.evaluation.config import checked_settings
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.loading import WEIGHTS
from lstm_lm.inference.torch_backend import build_network, load_network
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.serialization import dataclass_from_plain, field_of, mapping, upgrade_format_1
from lstm_lm.text.vocabulary import Vocabulary

CHECKPOINT_FORMAT = 2
TUNED = "tuned"  # the part of the record that `lstm-lm eval` adds


@dataclass(frozen=True)
class TrainedModel:
    """A network that can be scored, exported and asked, and all that belongs to it.

    Attributes:
        path: Where it was read from.
        model: The network, in eval mode.
        config: What it is made of.
        vocabulary: Its words.
        tokenizer: How its corpus was cut into words.
        data: The corpus that it was trained on.
        presets: Sampling presets by name.
        default_preset: The preset that is meant when none is named.
        metrics: Scores by split.
        tuned: Settings that ``lstm-lm eval … tune=true`` chose for this model, by evaluation; a bundle has none.
    """

    path: Path
    model: LSTMLanguageModel
    config: ModelConfig
    vocabulary: Vocabulary
    tokenizer: str
    data: DataConfig
    presets: dict[str, SamplingConfig]
    default_preset: str
    metrics: dict[str, Any]
    tuned: dict[str, dict[str, float]] = field(default_factory=dict)


def load_trained(path: Path) -> TrainedModel:
    """Read a checkpoint (a file) or a bundle (a folder).

    Raises:
        CheckpointError: As :func:`read_checkpoint`.
        BundleError: As ``read_bundle``, or if the weights do not fit.
    """
    return _from_bundle(read_bundle(path)) if path.is_dir() else read_checkpoint(path)


def read_checkpoint(path: Path) -> TrainedModel:
    """Read the model in a checkpoint of ``lstm-lm train``.

    Raises:
        CheckpointError: If it is missing, damaged, not one of ours, of a newer format, or contradicts itself.
    """
    content = open_checkpoint(path)
    try:
        return _from_record(path, mapping(content["lstm_lm"], "lstm_lm"), content)
    except (ValueError, DataError) as error:
        raise CheckpointError(f"{path}: the checkpoint does not fit together: {error}") from error


def open_checkpoint(path: Path) -> Mapping[str, Any]:
    """Everything in a checkpoint of ``lstm-lm train``. Only plain data and tensors are unpickled, never code.

    Returns:
        Lightning's checkpoint, with our own record under ``lstm_lm``.

    Raises:
        CheckpointError: If it is missing, damaged or not one of ours.
    """
    if path.is_dir():
        best = path / "checkpoints" / "best.ckpt"
        remedy = f"give its checkpoint {best}" if best.is_file() else "give a checkpoint, RUN/checkpoints/best.ckpt"
        raise CheckpointError(f"{path}: is a folder, not a checkpoint; {remedy}")
    if not path.is_file():
        raise CheckpointMissingError(path)
    content = _load(path)
    if "lstm_lm" not in content:
        raise CheckpointError(f"{path}: is not a checkpoint of lstm-lm (it has no 'lstm_lm' record); train one")
    return content


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # a zip is what torch writes: it could be read, and held more than data
        why = "holds more than plain data and is not opened" if zipfile.is_zipfile(path) else "is not a checkpoint"
        raise CheckpointError(f"{path}: {why}; give one that lstm-lm train wrote") from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: the checkpoint is damaged ({reason}); take another one of the run") from error
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read ({error.strerror or error})") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: is not a checkpoint of lstm-lm (it holds a {type(content).__name__})")
    return content


def _from_record(path: Path, record: Mapping[str, Any], content: Mapping[str, Any]) -> TrainedModel:
    version = field_of(record, "format", int)
    if not 1 <= version <= CHECKPOINT_FORMAT:
        raise ValueError(f"format {version} is not one of 1 to {CHECKPOINT_FORMAT}; update lstm-lm")
    if version == 1:
        record = upgrade_format_1(record)
    config = dataclass_from_plain(ModelConfig, record.get("model"), "model")
    if problems := config.problems():
        raise ValueError("; ".join(f"model.{problem}" for problem in problems))
    vocabulary = Vocabulary.from_dict(field_of(record, "vocabulary", dict))
    presets = {
        name: dataclass_from_plain(SamplingConfig, preset, f"presets.{name}")
        for name, preset in field_of(record, "presets", dict).items()
    }
    default_preset = field_of(record, "default_preset", str)
    if default_preset not in presets:
        raise ValueError(f"default_preset: not one of the presets {', '.join(presets)} (got {default_preset!r})")
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in mapping(content.get("state_dict"), "state_dict").items()
        if name.startswith("model.")
    }
    return TrainedModel(
        path=path,
        model=build_network(config, len(vocabulary), weights),
        config=config,
        vocabulary=vocabulary,
        tokenizer=field_of(record, "tokenizer", str),
        data=dataclass_from_plain(DataConfig, record.get("data"), "data"),
        presets=presets,
        default_preset=default_preset,
        metrics=field_of(record, "metrics", dict),
        tuned={
            name: checked_settings(name, mapping(settings, f"{TUNED}.{name}"))
            for name, settings in mapping(record.get(TUNED, {}), TUNED).items()
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
