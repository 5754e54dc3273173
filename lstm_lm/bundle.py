"""The exported artifact: a folder of data, never of code, that is read and verified without torch.

``manifest.json`` describes the model and holds the sha256 of the other files; ``model.safetensors`` holds the weights
(tied ones once); ``model.onnx`` and ``model.int8.onnx`` hold the network for a service without torch (any two of the
three may be absent); ``vocabulary.json`` holds the vocabulary; ``rules.json`` holds what a client in another language
needs besides; ``README.md`` is the model card, which may be edited. ``export.bundle_writer`` writes it.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import safetensors

from lstm_lm.errors import BundleError, DataError
from lstm_lm.inference.backend import Backend
from lstm_lm.inference.loading import BACKEND_FILES, WEIGHTS, load_backend
from lstm_lm.saved_model import ModelMetadata, SavedModel
from lstm_lm.serialization import field_of, mapping
from lstm_lm.text.files import file_sha256
from lstm_lm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from lstm_lm.nn.model import LSTMLanguageModel

MANIFEST, VOCABULARY, CARD, RULES = "manifest.json", "vocabulary.json", "README.md", "rules.json"
BUNDLE_FILES = frozenset({MANIFEST, VOCABULARY, CARD, RULES, *BACKEND_FILES.values()})


@dataclass(frozen=True, kw_only=True)
class Bundle(SavedModel):
    """A verified bundle: every file but the model card has the checksum of the export."""

    files: dict[str, int]
    """Size of every file in bytes."""
    parameters: int | None = None
    """Number of weights, tied ones once; ``None`` for a bundle of an earlier version."""

    @property
    def num_parameters(self) -> int:
        """See :attr:`SavedModel.num_parameters`; known without torch."""
        if self.parameters is not None:
            return self.parameters
        try:
            with safetensors.safe_open(self.path / WEIGHTS, framework="numpy") as weights:
                names: list[str] = weights.keys()
                return sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
        except safetensors.SafetensorError as error:
            raise BundleError(f"{self.path / WEIGHTS}: {error}; export the checkpoint again") from error

    def _build_network(self) -> "LSTMLanguageModel":
        from lstm_lm.inference.torch_backend import load_network

        if WEIGHTS not in self.files:
            raise BundleError(
                f"{self.path}: has no {WEIGHTS}, so it predicts, generates and serves only; give the checkpoint it was "
                "exported from"
            )
        try:
            return load_network(self.metadata.model, len(self.vocabulary), self.path / WEIGHTS)
        except (ValueError, safetensors.SafetensorError) as error:
            raise BundleError(f"{self.path / WEIGHTS}: {error}; export the checkpoint again") from error

    def backend(self, choice: str = "auto", threads: int = 0) -> Backend:
        """See :meth:`SavedModel.backend`; ``auto`` is the first of them that the bundle has a file for."""
        return load_backend(self.path, self.files, self.metadata.model, len(self.vocabulary), choice, threads)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and verify it: format version, every field, file paths inside the folder, sha256 of every file.

    Raises:
        BundleError: If a check fails; the message names the file or field.
    """
    try:
        manifest = read_manifest(path)
        metadata = ModelMetadata.from_plain(manifest)
        vocab_size = field_of(manifest, "vocabulary_size", int)
        parameters = field_of(manifest, "parameters", int) if "parameters" in manifest else None
        files = _verify_files(path, manifest)
        vocabulary = Vocabulary.load(path / VOCABULARY)
        if len(vocabulary) != vocab_size:
            raise ValueError(f"vocabulary_size: {VOCABULARY} holds {len(vocabulary)} words (got {vocab_size})")
    except (ValueError, DataError) as error:
        raise BundleError(f"{path}: invalid bundle: {error}; export it again or copy it again") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot read the bundle ({error})") from error
    return Bundle(path=path, metadata=metadata, vocabulary=vocabulary, files=files, parameters=parameters)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of the bundle at ``path`` without verifying it.

    Raises:
        BundleError: If ``path`` is not a bundle.
        ValueError: If the manifest is not a JSON object.
    """
    if not (path / MANIFEST).is_file():
        what = f"has no {MANIFEST}, so it is not a bundle" if path.is_dir() else "there is no such bundle"
        raise BundleError(f"{path}: {what}; create one from a checkpoint with lstm-lm export")
    try:
        return mapping(json.loads((path / MANIFEST).read_bytes(), parse_constant=_refuse_constant), MANIFEST)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is damaged ({error})") from error


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
        if name != CARD  # of an earlier version: people edit it
    }
    root = os.path.realpath(_links_root(path))
    for name in checksums:
        inside = name and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        # a symbolic link can point outside too
        if not inside or "\x00" in name or not Path(os.path.realpath(path / name)).is_relative_to(root):
            raise ValueError(f"files.{name}: points outside the bundle's folder")
    if VOCABULARY not in checksums:
        raise ValueError(f"files.{VOCABULARY}: missing field")
    if not checksums.keys() & set(BACKEND_FILES.values()):
        raise ValueError(f"files: has none of {', '.join(BACKEND_FILES.values())}")
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
    card = [CARD] if (path / CARD).is_file() else []
    return {name: (path / name).stat().st_size for name in (*checksums, *card, MANIFEST)}


def _links_root(path: Path) -> Path:
    """The folder that the files of a bundle may link into: its own, or its repository in the cache of the hub.

    The cache holds ``models--USER--NAME/snapshots/COMMIT/FILE``, each a link to ``models--USER--NAME/blobs/SHA``.
    """
    repository = path.resolve().parent.parent
    is_snapshot = path.resolve().parent.name == "snapshots" and (repository / "blobs").is_dir()
    return repository if is_snapshot else path
