"""A bundle is verified or rejected."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_models import small_network, write_plain_bundle, write_small_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstm_lm.bundle import manifest_sha256, read_bundle
from lstm_lm.errors import BundleError, ConfigError
from lstm_lm.export.bundle_export import export_bundle
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.export.onnx_graph import float_graph
from lstm_lm.inference.engine import Engine
from lstm_lm.loading import load_model
from lstm_lm.nn.config import ModelConfig
from lstm_lm.text.files import file_sha256

FILES = (
    "manifest.json",
    "model.safetensors",
    "vocabulary.json",
    "rules.json",
    "model.onnx",
    "model.int8.onnx",
)


@pytest.fixture(scope="module")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "mine")


@pytest.fixture
def copy(bundle_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_dir, tmp_path / "copy"))


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any], sign: bool = True) -> None:
    """Change the manifest; ``sign`` updates its checksum."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    if sign:
        manifest["sha256"] = manifest_sha256(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_format_1_bundle_is_upgraded(copy: Path) -> None:
    def downgrade(manifest: dict[str, Any]) -> None:
        manifest["format"] = 1
        manifest["model"]["output_cutoffs"] = manifest["model"].pop("cutoffs")
        manifest["data"]["name"] = manifest["data"].pop("source")

    current = read_bundle(copy)
    change_manifest(copy, downgrade)
    old = read_bundle(copy)
    assert old.metadata == current.metadata


@given(name=st.sampled_from(FILES), position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bit_is_rejected(copy: Path, name: str, position: float, bit: int) -> None:
    file = copy / name
    before = file.read_bytes()
    flipped = bytearray(before)
    flipped[int(position * len(before))] ^= 1 << bit
    file.write_bytes(flipped)
    try:
        with pytest.raises(BundleError, match="copy"):
            read_bundle(copy)
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("name", FILES)
def test_missing_or_truncated_file_is_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}.* is missing|has no {name}"):
        read_bundle(copy)
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=name):
        read_bundle(copy)
    (copy / name).unlink()
    (copy / name).mkdir()
    with pytest.raises(BundleError, match=name):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 3, r"format 3 is newer than 2.*update lstm-lm"),
        ("format", 0, r"format: must be from 1 to 2 \(got 0\)"),
        ("format", "1", r"format: must be int \(got '1'\)"),
        ("format", True, "format: must be int"),
        ("model", [], "model: must be a mapping"),
        ("model", {"embedding_dim": "16"}, r"model.embedding_dim: must be int \(got '16'\)"),
        ("model", {"hidden_dims": [8, 0.5]}, r"model.hidden_dims\[1\]: must be int \(got 0.5\)"),
        ("model", {"hidden_dims": []}, r"model\.hidden_dims: needs one width"),
        ("model", {"_target_": "os.system"}, "model._target_: unknown field"),
        ("vocabulary_size", 48, r"vocabulary_size: vocabulary.json holds 49 words \(got 48\)"),
        ("tokenizer", None, "tokenizer: must be str"),
        ("metrics", 3, "metrics: must be a mapping"),
        ("presets", {"a": {"temperature": 10**400}}, "presets.a.temperature: must be float"),
        ("presets", {"balanced": {"temperature": -1}}, "presets.balanced.temperature: must be above 0"),
        ("presets", {"balanced": {"seed": "x"}}, "presets.balanced.seed: must be int"),
        ("default_preset", "gone", r"default_preset: unknown \(got 'gone'\); use one of"),
        ("files", {}, "files.vocabulary.json: missing field"),
        ("files", {"model.safetensors": "abc"}, "files.model.safetensors: must be a mapping"),
    ],
)
def test_invalid_field_is_named_with_its_value(copy: Path, field: str, value: Any, message: str) -> None:
    change_manifest(copy, lambda manifest: manifest.update({field: value}))
    with pytest.raises(BundleError, match=message):
        read_bundle(copy)


@pytest.mark.parametrize(
    "field", ["format", "model", "vocabulary_size", "tokenizer", "data", "metrics", "presets", "files", "sha256"]
)
def test_missing_field_is_named(copy: Path, field: str) -> None:
    change_manifest(copy, lambda manifest: manifest.pop(field), sign=False)
    with pytest.raises(BundleError, match=f"{field}: missing field"):
        read_bundle(copy)


def test_changed_manifest_is_rejected(copy: Path) -> None:
    change_manifest(copy, lambda manifest: manifest["metrics"].update(test={"perplexity": 1.0}), sign=False)
    with pytest.raises(BundleError, match=r"manifest\.json was changed after the export"):
        read_bundle(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": NaN}', "[" * 100_000, "{}\x00", "{}}"])
def test_manifest_that_is_not_a_json_object_is_rejected(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        read_bundle(copy)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../outside", "link", "x\x00", ""])
def test_path_outside_the_folder_is_rejected_unread(copy: Path, name: str) -> None:
    outside = copy.parent / "outside"
    outside.write_text("secret")
    (copy / "link").symlink_to(outside)
    change_manifest(copy, lambda manifest: manifest["files"].update({name: {"sha256": file_sha256(outside)}}))
    with pytest.raises(BundleError, match="points outside the bundle's folder"):
        read_bundle(copy)


def test_the_model_card_may_be_edited_or_absent(copy: Path) -> None:
    (copy / "README.md").write_text("# Mine\n")
    assert read_bundle(copy).files["README.md"] == 7
    (copy / "README.md").unlink()
    assert "README.md" not in read_bundle(copy).files


def test_the_card_of_an_earlier_version_may_be_edited_too(copy: Path) -> None:
    change_manifest(copy, lambda manifest: manifest["files"].update({"README.md": {"sha256": "0" * 64}}))
    read_bundle(copy)


def test_links_into_the_hubs_cache_are_followed_and_others_are_not(copy: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--me--mine"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for file in copy.iterdir():
        blob = repository / "blobs" / file_sha256(file)
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    assert read_bundle(snapshot).files == read_bundle(copy).files
    (snapshot / "vocabulary.json").unlink()
    (snapshot / "vocabulary.json").symlink_to(copy / "vocabulary.json")
    with pytest.raises(BundleError, match=r"files\.vocabulary\.json: points outside"):
        read_bundle(snapshot)


def test_a_bundle_without_weights_predicts_and_says_what_it_cannot_do(tmp_path: Path) -> None:
    whole = read_bundle(write_small_bundle(tmp_path / "whole"))
    export_bundle(tmp_path / "whole.ckpt", tmp_path / "light", BundleExportConfig(weights=False))
    light = read_bundle(tmp_path / "light")
    assert light.num_parameters == whole.num_parameters
    assert "model.safetensors" not in light.files
    assert light.engine().predict("I", 3) == whole.engine().predict("I", 3)
    with pytest.raises(BundleError, match=r"has no model\.safetensors, so it predicts, generates and serves only"):
        _ = light.network


def test_folder_that_is_not_a_bundle_has_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no such bundle"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"has no manifest\.json.*lstm-lm export"):
        read_bundle(tmp_path)


def test_weights_that_do_not_fit_the_model_are_rejected(tmp_path: Path) -> None:
    weights = {name: tensor.numpy() for name, tensor in small_network().state_dict().items()}
    short = write_plain_bundle(
        tmp_path / "short", weights={name: weights[name] for name in weights if name != "output_bias"}
    )
    with pytest.raises(BundleError, match=r"model\.safetensors.*output_bias is missing"):
        short.engine()
    wide = write_plain_bundle(tmp_path / "wide", weights=weights | {"output_bias": np.zeros(3, np.float32)})
    with pytest.raises(BundleError, match=r"output_bias has shape \(3,\)"):
        wide.engine()
    other = write_plain_bundle(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        other.engine()


@pytest.mark.parametrize(
    ("choice", "backend", "file"),
    [
        ("auto", "OnnxBackend", "model.int8.onnx"),
        ("int8", "OnnxBackend", "model.int8.onnx"),
        ("onnx", "OnnxBackend", "model.onnx"),
        ("torch", "TorchBackend", None),
    ],
)
def test_backend_is_selected_by_name(bundle_dir: Path, choice: str, backend: str, file: str | None) -> None:
    selected = read_bundle(bundle_dir).engine(choice).backend
    assert type(selected).__name__ == backend
    assert getattr(selected, "name", None) == file


def test_missing_backend_lists_the_available_ones(tmp_path: Path) -> None:
    plain = write_plain_bundle(tmp_path / "plain")
    assert type(plain.engine().backend).__name__ == "TorchBackend"
    with pytest.raises(ConfigError, match=r"backend: .*plain has no model\.int8\.onnx .*use one of auto, torch,"):
        plain.engine("int8")
    with pytest.raises(ConfigError, match=r"backend: unknown \(got 'cuda'\); use one of auto, int8, onnx, torch"):
        plain.engine("cuda")


def test_graph_outside_the_manifest_is_not_loaded(bundle_dir: Path, tmp_path: Path) -> None:
    write_plain_bundle(tmp_path / "plain")
    shutil.copy(bundle_dir / "model.int8.onnx", tmp_path / "plain")
    assert type(read_bundle(tmp_path / "plain").engine().backend).__name__ == "TorchBackend"


def test_graph_of_another_network_is_rejected(tmp_path: Path) -> None:
    network = small_network(ModelConfig(embedding_dim=16, hidden_dims=[16]))
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for content in (b"not a graph", float_graph(network.config, weights)):
        other = write_plain_bundle(tmp_path / "other", graphs={"model.onnx": content}, overwrite=True)
        with pytest.raises(BundleError, match=r"other/model\.onnx: .*export the checkpoint again"):
            other.engine()


def test_reading_a_bundle_does_not_import_torch(bundle_dir: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lstm_lm.bundle import read_bundle\n"
        "import lstm_lm.loading, lstm_lm.cli.predict, lstm_lm.cli.generate\n"
        f"read_bundle(Path({str(bundle_dir)!r}))\n"
        "print([name for name in ('torch', 'lightning', 'hydra', 'omegaconf', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("backend", ["torch", "onnx", "int8", "checkpoint"])
def test_a_loaded_model_needs_its_files_no_longer(backend: str, tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "mine")
    checkpoint = folder.with_suffix(".ckpt")
    engine = load(backend, folder)
    expected = engine.predict("the cat sat on", 5)
    for path in (checkpoint, *folder.iterdir()):
        with path.open("r+b") as file:  # in place: a new file would leave a mapped one as it was
            file.write(bytes(path.stat().st_size))
    assert engine.predict("the cat sat on", 5) == expected
    for path in (checkpoint, *folder.iterdir()):
        os.truncate(path, 0)
    assert engine.predict("a dog went", 5) == load(backend, write_small_bundle(tmp_path / "again")).predict(
        "a dog went", 5
    )


def load(backend: str, folder: Path) -> Engine:
    if backend == "checkpoint":
        return load_model(folder.with_suffix(".ckpt")).engine()
    return load_model(folder).engine(backend)
