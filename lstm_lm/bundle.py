"""The exported artifact: a folder of data, never of code, that is read and verified without torch.

``manifest.json`` describes the model and holds the sha256 of every file; ``model.safetensors`` holds the weights (tied
ones once); ``model.onnx`` and ``model.int8.onnx`` hold the network for a service without torch (either may be absent);
``vocabulary.json`` holds the vocabulary; ``README.md`` is the model card. ``export.bundle_writer`` writes it.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open

from lstm_lm.errors import BundleError, DataError
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.info import ModelInfo
from lstm_lm.inference.loading import WEIGHTS, load_backend
from lstm_lm.nn.config import ModelConfig
from lstm_lm.serialization import dataclass_from_plain, field_of, mapping, upgrade_format_1
from lstm_lm.text.vocabulary import Vocabulary

FORMAT_VERSION = 2
MANIFEST, VOCABULARY, CARD = "manifest.json", "vocabulary.json", "README.md"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: every file has the checksum of the export."""

    path: Path
    """Its folder."""
    model: ModelConfig
    vocabulary: Vocabulary
    tokenizer: str
    """Name of the tokenizer of the training corpus."""
    data: dict[str, Any]
    """Corpus and vocabulary settings: the fields of ``DataConfig`` without local paths."""
    metrics: dict[str, Any]
    """Scores by split."""
    presets: dict[str, SamplingConfig]
    """Sampling presets by name."""
    default_preset: str
    """The preset for requests that name none."""
    files: dict[str, int]
    """Size of every file in bytes."""

    @property
    def info(self) -> ModelInfo:
        """What the service publishes about the model.

        Raises:
            BundleError: If the file of the weights is not a safetensors file.
        """
        try:
            with safe_open(self.path / WEIGHTS, framework="numpy") as weights:
                names: list[str] = weights.keys()
                num_parameters = sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
        except SafetensorError as error:
            raise BundleError(f"{self.path / WEIGHTS}: {error}; export the checkpoint again") from error
        return ModelInfo(self.path.resolve().name, self.model, num_parameters, self.tokenizer, self.data, self.metrics)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and verify it: format version, every field, file paths inside the folder, sha256 of every file.

    Raises:
        BundleError: If a check fails; the message names the file or field.
    """
    try:
        manifest = read_manifest(path)
        version = field_of(manifest, "format", int)
        if version > FORMAT_VERSION:
            raise ValueError(
                f"format {version} is newer than {FORMAT_VERSION}, the newest supported one; update lstm-lm"
            )
        if version < 1:
            raise ValueError(f"format: must be from 1 to {FORMAT_VERSION} (got {version})")
        record = upgrade_format_1(manifest) if version == 1 else manifest
        model = dataclass_from_plain(ModelConfig, field_of(record, "model", dict), "model")
        presets = {
            name: dataclass_from_plain(SamplingConfig, preset, f"presets.{name}")
            for name, preset in field_of(record, "presets", dict).items()
        }
        problems = [f"model.{problem}" for problem in model.problems()]
        problems += [f"presets.{name}.{text}" for name, preset in presets.items() for text in preset.problems()]
        if problems:
            raise ValueError("; ".join(problems))
        default_preset = field_of(record, "default_preset", str)
        if default_preset not in presets:
            raise ValueError(f"default_preset: unknown (got {default_preset!r}); use one of {', '.join(presets)}")
        vocab_size = field_of(record, "vocabulary_size", int)
        tokenizer = field_of(record, "tokenizer", str)
        data, metrics = field_of(record, "data", dict), field_of(record, "metrics", dict)
        files = _verify_files(path, manifest)
        vocabulary = Vocabulary.load(path / VOCABULARY)
        if len(vocabulary) != vocab_size:
            raise ValueError(f"vocabulary_size: {VOCABULARY} holds {len(vocabulary)} words (got {vocab_size})")
    except (ValueError, DataError) as error:
        raise BundleError(f"{path}: invalid bundle: {error}; export it again or copy it again") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot read the bundle ({error})") from error
    return Bundle(path, model, vocabulary, tokenizer, data, metrics, presets, default_preset, files)


def build_engine(bundle: Bundle, backend: str = "auto", prefix_cache_size: int = 0) -> Engine:
    """Load the bundle's network into an engine.

    Args:
        bundle: A verified bundle.
        backend: ``int8``, ``onnx`` or ``torch``; ``auto`` is the first of these that the bundle has a file for.
        prefix_cache_size: Maximum number of prefixes whose state is cached; 0 disables the cache.

    Raises:
        ConfigError: If the backend is unknown, or the bundle has no file for it.
        BundleError: If the file does not fit the model config.
    """
    network = load_backend(bundle.path, bundle.files, bundle.model, len(bundle.vocabulary), backend)
    return Engine(network, bundle.vocabulary, bundle.presets, bundle.default_preset, prefix_cache_size)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of the bundle at ``path`` without verifying it.

    Raises:
        BundleError: If ``path`` is not a bundle.
        ValueError: If the manifest is not a JSON object.
    """
    if (path / "checkpoints" / "best.ckpt").is_file():
        raise BundleError(f"{path}: is a run folder; give its checkpoint {path / 'checkpoints' / 'best.ckpt'}")
    if not (path / MANIFEST).is_file():
        what = f"has no {MANIFEST}, so it is not a bundle" if path.is_dir() else "there is no such bundle"
        raise BundleError(f"{path}: {what}; create one from a checkpoint with lstm-lm export")
    try:
        return mapping(json.loads((path / MANIFEST).read_bytes(), parse_constant=_refuse_constant), MANIFEST)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is damaged ({error})") from error


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_sha256(manifest: Mapping[str, Any]) -> str:
    """sha256 of a manifest without its own ``sha256`` field, in hex."""
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _verify_files(path: Path, manifest: Mapping[str, Any]) -> dict[str, int]:
    """Verify path and checksum of every file in the manifest, and return the file sizes."""
    checksums = {
        name: field_of(mapping(entry, f"files.{name}"), "sha256", str)
        for name, entry in field_of(manifest, "files", dict).items()
    }
    root = os.path.realpath(path)
    for name in checksums:
        inside = name and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        # a symbolic link can point outside too
        if not inside or "\x00" in name or not Path(os.path.realpath(path / name)).is_relative_to(root):
            raise ValueError(f"files.{name}: points outside the bundle's folder")
    for name in (WEIGHTS, VOCABULARY):
        if name not in checksums:
            raise ValueError(f"files.{name}: missing field")
    if field_of(manifest, "sha256", str) != manifest_sha256(manifest):
        raise ValueError(f"{MANIFEST} was changed after the export (its sha256 differs)")
    for name in checksums:
        if not (path / name).is_file():
            raise ValueError(f"{name} is missing")
    # hashing releases the GIL, and a service is not ready before it is done
    with ThreadPoolExecutor() as threads:
        for name, sha256 in zip(checksums, threads.map(lambda name: file_sha256(path / name), checksums), strict=True):
            if sha256 != checksums[name]:
                raise ValueError(f"{name} was changed after the export (its sha256 differs)")
    return {name: (path / name).stat().st_size for name in (*checksums, MANIFEST)}
