"""Write a bundle atomically; only a bundle is ever overwritten."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray

from lstm_lm.bundle import (
    CARD,
    MANIFEST,
    RULES,
    VOCABULARY,
    Bundle,
    manifest_sha256,
    read_bundle,
    read_manifest,
)
from lstm_lm.errors import BundleError
from lstm_lm.inference.blocklist import shipped_blocklist
from lstm_lm.inference.client_rules import client_rules
from lstm_lm.inference.loading import INT8, ONNX, WEIGHTS
from lstm_lm.saved_model import ModelMetadata
from lstm_lm.serialization import field_of
from lstm_lm.text.files import (
    current_umask,
    file_sha256,
    remove_abandoned,
    sync_folder,
    temporary_folder,
    write_atomically,
)
from lstm_lm.text.vocabulary import Vocabulary


def write_bundle(
    path: Path,
    *,
    metadata: ModelMetadata,
    weights: Mapping[str, NDArray[Any]] | None,
    vocabulary: Vocabulary,
    card: str,
    graphs: Mapping[str, bytes] | None = None,
    parameters: int | None = None,
    overwrite: bool = False,
    check: Callable[[Bundle], None] | None = None,
) -> Bundle:
    """Write a bundle to a temporary folder next to ``path``, then rename it: readers never see a partial bundle.

    Args:
        path: The bundle's folder.
        metadata: What to record of the model.
        weights: Its weights by name, float32, tied weights once; ``None`` leaves them out.
        vocabulary: Its vocabulary.
        card: Text of the model card, Markdown.
        graphs: Content of ``model.onnx`` and ``model.int8.onnx``; both are optional.
        parameters: Number of weights; ``None`` counts ``weights``.
        overwrite: Replace a bundle at ``path``; anything else is never replaced.
        check: Called with the complete bundle before it is renamed; if it raises, ``path`` is unchanged.

    Raises:
        BundleError: If ``path`` holds something that must not be replaced.
        OSError: If the folder cannot be written.
    """
    content = dict(graphs or {})
    assert content.keys() <= {ONNX, INT8}, f"not graphs of a bundle: {list(content)}"
    if weights is not None:
        # the metadata is what other programs expect of weights that torch can read
        content[WEIGHTS] = safetensors.numpy.save(dict(weights), metadata={"format": "pt"})
        parameters = sum(weight.size for weight in weights.values())
    assert content, "a bundle needs weights or a graph"
    assert parameters is not None
    path = path.resolve()
    _check_destination(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    partial = temporary_folder(path)
    try:
        partial.chmod(0o777 & ~current_umask())
        vocabulary.save(partial / VOCABULARY)
        write_atomically(partial / CARD, card)
        rules = client_rules(vocabulary, shipped_blocklist(), metadata.cache)
        write_atomically(partial / RULES, json.dumps(rules, ensure_ascii=False))
        for name, bytes_ in content.items():
            write_atomically(partial / name, bytes_)
        manifest = metadata.to_plain() | {
            "vocabulary_size": len(vocabulary),
            "parameters": parameters,
            "files": {name: {"sha256": file_sha256(partial / name)} for name in (VOCABULARY, RULES, *content)},
        }
        manifest["sha256"] = manifest_sha256(manifest)
        write_atomically(partial / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False))
        bundle = read_bundle(partial)
        if check is not None:
            check(bundle)
        _check_destination(path, overwrite)  # again: writing and checking take minutes
        _replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return replace(bundle, path=path)


def _check_destination(path: Path, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / MANIFEST).is_file():
        raise BundleError(f"{path}: exists and is not a bundle, so it is not replaced; choose another folder with out=")
    try:
        bundle_files = {*field_of(read_manifest(path), "files", dict), CARD, MANIFEST}
    except ValueError as error:
        raise BundleError(f"{path}: exists and is a damaged bundle ({error}); delete it yourself") from error
    if other_files := sorted({entry.name for entry in path.iterdir()} - bundle_files):
        raise BundleError(
            f"{path}: contains files that are not part of the bundle ({', '.join(other_files)}); move them"
        )
    if not overwrite:
        raise BundleError(f"{path}: is a bundle already; replace it with export.overwrite=true")


def _replace(partial: Path, path: Path) -> None:
    """Rename ``partial`` to ``path``. An existing bundle is moved aside first, and restored if the rename fails."""
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
