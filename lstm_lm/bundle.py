"""The exported artifact: a folder of data, never of code. Read, verified and written without torch.

``manifest.json`` says what the model is and holds the sha256 of every file; ``model.safetensors`` holds the weights
(tied ones once), ``model.onnx`` and ``model.int8.onnx`` the network for a service without torch (either may be absent),
``vocabulary.json`` the words, ``README.md`` is the model card.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray

from lstm_lm.errors import BundleError, DataError
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.info import ModelInfo
from lstm_lm.inference.loading import INT8, ONNX, WEIGHTS, load_backend
from lstm_lm.nn.config import ModelConfig
from lstm_lm.serialization import dataclass_from_plain, field_of, mapping, upgrade_format_1
from lstm_lm.text.files import current_umask, remove_abandoned, sync_folder, temporary_folder, write_atomically
from lstm_lm.text.vocabulary import Vocabulary

FORMAT_VERSION = 2
MANIFEST, VOCABULARY, CARD = "manifest.json", "vocabulary.json", "README.md"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are those that were exported.

    Attributes:
        path: Its folder.
        model: What the network is made of.
        vocabulary: The network's words.
        tokenizer: How its corpus was cut into words.
        data: Corpus and vocabulary settings, fields of ``DataConfig`` without places on a machine.
        metrics: Scores by split.
        presets: Sampling presets by name.
        default_preset: The preset that is meant when none is named.
        files: Size of every file in bytes.
    """

    path: Path
    model: ModelConfig
    vocabulary: Vocabulary
    tokenizer: str
    data: dict[str, Any]
    metrics: dict[str, Any]
    presets: dict[str, SamplingConfig]
    default_preset: str
    files: dict[str, int]

    @property
    def about(self) -> ModelInfo:
        """What it tells about its model."""
        return ModelInfo(self.path.resolve().name, self.model, self.tokenizer, self.data, self.metrics)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and verify it: format version, every field, that no file lies outside, sha256 of every file.

    Raises:
        BundleError: If any of this is wrong; it says what and where.
    """
    try:
        manifest = _manifest(path)
        version = field_of(manifest, "format", int)
        if version > FORMAT_VERSION:
            raise ValueError(
                f"format {version} is newer than {FORMAT_VERSION}, the newest that this version of lstm-lm reads; "
                "update lstm-lm"
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
            raise ValueError(f"default_preset: not one of the presets {', '.join(presets)} (got {default_preset!r})")
        vocab_size = field_of(record, "vocabulary_size", int)
        tokenizer = field_of(record, "tokenizer", str)
        data, metrics = field_of(record, "data", dict), field_of(record, "metrics", dict)
        files = _verified_files(path, manifest)
        vocabulary = Vocabulary.load(path / VOCABULARY)
        if len(vocabulary) != vocab_size:
            raise ValueError(f"vocabulary_size: {VOCABULARY} holds {len(vocabulary)} words (got {vocab_size})")
    except (ValueError, DataError) as error:
        raise BundleError(f"{path}: not a whole bundle: {error}; export it again or copy it again") from error
    except OSError as error:
        raise BundleError(f"{path}: the bundle cannot be read ({error})") from error
    return Bundle(path, model, vocabulary, tokenizer, data, metrics, presets, default_preset, files)


def build_engine(bundle: Bundle, backend: str = "auto", prefix_cache_size: int = 0) -> Engine:
    """The engine that answers with the model of ``bundle``.

    Args:
        bundle: A verified bundle.
        backend: ``int8``, ``onnx`` or ``torch``; ``auto`` is the first of them that the bundle has a file for.
        prefix_cache_size: Most beginnings of texts whose state is kept; 0 keeps none.

    Raises:
        ConfigError: If there is no such backend, or the bundle has no file for it.
        BundleError: If the file is not the network of its model spec.
    """
    network = load_backend(bundle.path, bundle.files, bundle.model, len(bundle.vocabulary), backend)
    return Engine(network, bundle.vocabulary, bundle.presets, bundle.default_preset, prefix_cache_size)


def write_bundle(
    path: Path,
    *,
    model: ModelConfig,
    weights: Mapping[str, NDArray[Any]],
    vocabulary: Vocabulary,
    tokenizer: str,
    data: Mapping[str, Any],
    metrics: Mapping[str, Any],
    presets: Mapping[str, SamplingConfig],
    default_preset: str,
    card: str,
    graphs: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
    check: Callable[[Bundle], None] | None = None,
) -> Bundle:
    """Write a bundle in one step: it is built beside its place and renamed, so that nobody meets half of one.

    Args:
        path: The bundle's folder.
        model: What the network is made of.
        weights: Its weights by name, float32; tied weights once.
        vocabulary: Its words.
        tokenizer: How its corpus was cut into words.
        data: Corpus and vocabulary settings.
        metrics: Scores by split.
        presets: Sampling presets by name.
        default_preset: One of their names.
        card: Text of the model card, Markdown.
        graphs: Content of ``model.onnx`` and ``model.int8.onnx``, as far as they are wanted.
        overwrite: Replace a bundle at ``path``; anything else is never replaced.
        check: Called with the finished bundle before it takes its place; what it raises leaves ``path`` as it was.

    Raises:
        BundleError: If ``path`` holds something that must stay.
        OSError: If the folder cannot be written.
    """
    graphs = graphs or {}
    assert graphs.keys() <= {ONNX, INT8}, f"not graphs of a bundle: {list(graphs)}"
    path = path.resolve()
    _check_place(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    partial = temporary_folder(path)
    try:
        partial.chmod(0o777 & ~current_umask())
        write_atomically(partial / WEIGHTS, safetensors.numpy.save(dict(weights)))
        vocabulary.save(partial / VOCABULARY)
        write_atomically(partial / CARD, card)
        for name, content in graphs.items():
            write_atomically(partial / name, content)
        manifest = {
            "format": FORMAT_VERSION,
            "model": asdict(model),
            "vocabulary_size": len(vocabulary),
            "tokenizer": tokenizer,
            "data": dict(data),
            "metrics": dict(metrics),
            "presets": {name: asdict(preset) for name, preset in presets.items()},
            "default_preset": default_preset,
            "files": {name: {"sha256": _sha256(partial / name)} for name in (WEIGHTS, VOCABULARY, CARD, *graphs)},
        }
        manifest["sha256"] = _manifest_sha256(manifest)
        write_atomically(partial / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False))
        bundle = read_bundle(partial)
        if check is not None:
            check(bundle)
        _check_place(path, overwrite)  # once more: all that took its time
        _move(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Bundle(**{**vars(bundle), "path": path})


def _manifest(path: Path) -> dict[str, Any]:
    if (path / "checkpoints" / "best.ckpt").is_file():
        raise BundleError(f"{path}: is the folder of a run; give its checkpoint {path / 'checkpoints' / 'best.ckpt'}")
    if not (path / MANIFEST).is_file():
        what = f"has no {MANIFEST}, so it is not a bundle" if path.is_dir() else "there is no such bundle"
        raise BundleError(f"{path}: {what}; lstm-lm export makes one from a checkpoint")
    try:
        return mapping(json.loads((path / MANIFEST).read_bytes(), parse_constant=_refuse_constant), MANIFEST)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is damaged ({error})") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _verified_files(path: Path, manifest: Mapping[str, Any]) -> dict[str, int]:
    """Sizes of the files that the manifest lists, after a look at the place and content of each."""
    listed = {
        name: field_of(mapping(entry, f"files.{name}"), "sha256", str)
        for name, entry in field_of(manifest, "files", dict).items()
    }
    root = os.path.realpath(path)
    for name in listed:
        inside = name and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        # a link can lead outside too
        if not inside or "\x00" in name or not Path(os.path.realpath(path / name)).is_relative_to(root):
            raise ValueError(f"files.{name}: leaves the folder of the bundle")
    for name in (WEIGHTS, VOCABULARY):
        if name not in listed:
            raise ValueError(f"files.{name}: missing field")
    if field_of(manifest, "sha256", str) != _manifest_sha256(manifest):
        raise ValueError(f"{MANIFEST} was changed after the export (its sha256 differs)")
    for name in listed:
        if not (path / name).is_file():
            raise ValueError(f"{name} is missing")
    # a service waits for this before it is ready; hashing leaves the interpreter to other threads
    with ThreadPoolExecutor() as threads:
        for name, sha256 in zip(listed, threads.map(lambda name: _sha256(path / name), listed), strict=True):
            if sha256 != listed[name]:
                raise ValueError(f"{name} was changed after the export (its sha256 differs)")
    return {name: (path / name).stat().st_size for name in (*listed, MANIFEST)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_sha256(manifest: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_place(path: Path, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / MANIFEST).is_file():
        raise BundleError(f"{path}: is there already and is not a bundle, so it stays; choose another place with out=")
    try:
        own = {*field_of(_manifest(path), "files", dict), MANIFEST}
    except ValueError as error:
        raise BundleError(f"{path}: is there already and is no whole bundle ({error}); delete it yourself") from error
    if others := sorted({entry.name for entry in path.iterdir()} - own):
        raise BundleError(f"{path}: holds files that are not the bundle's ({', '.join(others)}); move them elsewhere")
    if not overwrite:
        raise BundleError(f"{path}: holds a bundle already; export.overwrite=true replaces it")


def _move(partial: Path, path: Path) -> None:
    """Rename ``partial`` to ``path``; a bundle that is there makes room first, and comes back if that fails."""
    if not path.is_dir():
        partial.rename(path)
    else:
        old = partial.with_name(f"{partial.name}.old")
        path.rename(old)
        try:
            partial.rename(path)
        except BaseException:
            old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync_folder(path.parent)
