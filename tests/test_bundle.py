"""A bundle is whole or refused."""

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import PRESETS, small_network, small_vocabulary, write_small_bundle

from lstm_lm import bundle as bundle_module
from lstm_lm.bundle import Bundle, load_engine, read_bundle, write_bundle
from lstm_lm.errors import BundleError, ConfigError
from lstm_lm.export.onnx_graph import float_graph
from lstm_lm.inference.engine import Engine
from lstm_lm.nn.spec import ModelSpec

PLAIN_FILES = ("manifest.json", "model.safetensors", "vocabulary.json", "README.md")
FILES = (*PLAIN_FILES, "model.onnx", "model.int8.onnx")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle") / "mine")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def write(path: Path, **changes: Any) -> Bundle:
    network = small_network()
    parts: dict[str, Any] = {
        "model": network.spec,
        "weights": {name: tensor.numpy() for name, tensor in network.state_dict().items()},
        "vocabulary": small_vocabulary(),
        "tokenizer": "whitespace",
        "data": {"name": "text_files"},
        "metrics": {},
        "presets": PRESETS,
        "default_preset": "balanced",
        "card": "# card\n",
    }
    return write_bundle(path, **parts | changes)


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any], sign: bool = True) -> None:
    """Change the manifest as someone would who knows how it is checked."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    if sign:
        manifest["sha256"] = bundle_module._manifest_sha256(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write(tmp_path / "a" / "b", metrics={"valid": {"loss": 4.5}})
    read = read_bundle(tmp_path / "a" / "b")
    assert read == written
    assert read.metrics == {"valid": {"loss": 4.5}}
    assert (read.presets, read.default_preset) == (PRESETS, "balanced")
    assert set(read.files) == set(PLAIN_FILES)
    assert {entry.name for entry in (tmp_path / "a").iterdir()} == {"b"}


def test_the_manifest_says_what_is_in_it(whole: Path) -> None:
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["vocabulary_size"] == len(small_vocabulary())
    assert ModelSpec(**manifest["model"]) == small_network().spec
    assert set(manifest["files"]) == set(FILES) - {"manifest.json"}


@pytest.mark.parametrize("tie_weights", [True, False])
def test_tied_weights_are_stored_once_and_stay_tied(tie_weights: bool, tmp_path: Path) -> None:
    spec = ModelSpec(embedding_dim=16, hidden_dims=[16], tie_weights=tie_weights)
    network = small_network(spec)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    read = write(tmp_path / "b", model=spec, weights=weights)
    size = read.files["model.safetensors"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 4 * parameters < size < 4 * parameters + 2000
    words = (small_vocabulary(), PRESETS, "balanced")
    ours = Engine(bundle_backend(network), *words).predict("I want", 5)
    assert load_engine(read).predict("I want", 5) == ours


def bundle_backend(network: Any) -> Any:
    from lstm_lm.inference.torch_backend import TorchBackend

    return TorchBackend(network)


@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_anywhere_is_refused(copy: Path, name: str, place: float, bit: int) -> None:
    file = copy / name
    before = file.read_bytes()
    flipped = bytearray(before)
    flipped[int(place * len(before))] ^= 1 << bit
    file.write_bytes(flipped)
    try:
        with pytest.raises(BundleError, match="copy"):
            read_bundle(copy)
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_cut_file_is_named(copy: Path, name: str) -> None:
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
        ("format", 2, r"format 2 is newer than 1.*update lstm-lm"),
        ("format", 0, r"format: must be from 1 to 1 \(got 0\)"),
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
        ("default_preset", "gone", r"default_preset: not one of the presets .*\(got 'gone'\)"),
        ("files", {}, "files.model.safetensors: missing field"),
        ("files", {"model.safetensors": "abc"}, "files.model.safetensors: must be a mapping"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(copy: Path, field: str, value: Any, message: str) -> None:
    change_manifest(copy, lambda manifest: manifest.update({field: value}))
    with pytest.raises(BundleError, match=message):
        read_bundle(copy)


@pytest.mark.parametrize(
    "field", ["format", "model", "vocabulary_size", "tokenizer", "data", "metrics", "presets", "files", "sha256"]
)
def test_a_missing_field_is_named(copy: Path, field: str) -> None:
    change_manifest(copy, lambda manifest: manifest.pop(field), sign=False)
    with pytest.raises(BundleError, match=f"{field}: missing field"):
        read_bundle(copy)


def test_a_changed_manifest_is_refused(copy: Path) -> None:
    change_manifest(copy, lambda manifest: manifest["metrics"].update(test={"perplexity": 1.0}), sign=False)
    with pytest.raises(BundleError, match=r"manifest\.json was changed after the export"):
        read_bundle(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": NaN}', "[" * 100_000, "{}\x00", "{}}"])
def test_a_manifest_that_is_no_json_object_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        read_bundle(copy)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../../outside", "link", "x\x00", ""])
def test_a_path_that_leaves_the_folder_is_refused_unread(copy: Path, name: str) -> None:
    outside = copy.parent / "outside"
    outside.write_text("secret")
    (copy / "link").symlink_to(outside)
    change_manifest(copy, lambda manifest: manifest["files"].update({name: {"sha256": bundle_module._sha256(outside)}}))
    with pytest.raises(BundleError, match="leaves the folder"):
        read_bundle(copy)


def test_a_folder_that_is_no_bundle_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no such bundle"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"has no manifest\.json.*lstm-lm export"):
        read_bundle(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    with pytest.raises(BundleError, match=r"folder of a run; give its checkpoint .*/checkpoints/best\.ckpt"):
        read_bundle(tmp_path)


def test_weights_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    weights = {name: tensor.numpy() for name, tensor in small_network().state_dict().items()}
    short = write(tmp_path / "short", weights={name: weights[name] for name in weights if name != "output_bias"})
    with pytest.raises(BundleError, match=r"model\.safetensors.*output_bias is missing"):
        load_engine(short)
    wide = write(tmp_path / "wide", weights=weights | {"output_bias": np.zeros(3, np.float32)})
    with pytest.raises(BundleError, match=r"output_bias has shape \(3,\)"):
        load_engine(wide)
    other = write(tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        load_engine(other)


@pytest.mark.parametrize(
    ("choice", "backend", "file"),
    [
        ("auto", "OnnxBackend", "model.int8.onnx"),
        ("int8", "OnnxBackend", "model.int8.onnx"),
        ("onnx", "OnnxBackend", "model.onnx"),
        ("torch", "TorchBackend", None),
    ],
)
def test_a_backend_is_chosen_by_name(whole: Path, choice: str, backend: str, file: str | None) -> None:
    chosen = load_engine(read_bundle(whole), choice).backend
    assert type(chosen).__name__ == backend
    assert getattr(chosen, "name", None) == file


def test_a_backend_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain")
    assert type(load_engine(plain).backend).__name__ == "TorchBackend"
    with pytest.raises(ConfigError, match=r"backend: .*plain has no model\.int8\.onnx .*use one of auto, torch,"):
        load_engine(plain, "int8")
    with pytest.raises(ConfigError, match=r"backend: unknown \(got 'cuda'\); use one of auto, int8, onnx, torch"):
        load_engine(plain, "cuda")


def test_a_graph_that_the_manifest_does_not_list_is_not_read(whole: Path, tmp_path: Path) -> None:
    write(tmp_path / "plain")
    shutil.copy(whole / "model.int8.onnx", tmp_path / "plain")
    assert type(load_engine(read_bundle(tmp_path / "plain")).backend).__name__ == "TorchBackend"


def test_a_graph_of_another_network_is_refused(tmp_path: Path) -> None:
    network = small_network(ModelSpec(embedding_dim=16, hidden_dims=[16]))
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for content in (b"not a graph", float_graph(network.spec, weights)):
        other = write(tmp_path / "other", graphs={"model.onnx": content}, overwrite=True)
        with pytest.raises(BundleError, match=r"other/model\.onnx: .*export the checkpoint again"):
            load_engine(other)


def test_only_a_bundle_is_replaced_and_only_on_request(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    write(place)
    with pytest.raises(BundleError, match=r"holds a bundle already; export\.overwrite=true"):
        write(place)
    write(place, metrics={"valid": {"loss": 1.0}}, overwrite=True)
    assert read_bundle(place).metrics == {"valid": {"loss": 1.0}}

    (place / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"holds files that are not the bundle's \(notes\.txt\)"):
        write(place, overwrite=True)

    for kind in ("folder", "file"):
        other = tmp_path / kind
        if kind == "file":
            other.write_text("mine")
        else:
            other.mkdir()
            (other / "thesis.txt").write_text("mine")
        with pytest.raises(BundleError, match="not a bundle, so it stays"):
            write(other, overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    assert {entry.name for entry in tmp_path.iterdir()} == {"place", "folder", "file"}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("fail", ["check", "write", "rename"])
def test_a_failure_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, fail: str
) -> None:
    place = tmp_path / "place"
    if there:
        write(place, metrics={"valid": {"loss": 7.0}})

    def check(bundle: Bundle) -> None:
        if fail == "check":
            raise BundleError("not equal")

    rename = Path.rename

    def broken_rename(self: Path, target: Path) -> Path:
        if target == place and (self / "manifest.json").is_file() and "new" in (self / "README.md").read_text():
            raise OSError(28, "No space left on device")
        return rename(self, target)

    if fail == "rename":
        monkeypatch.setattr(Path, "rename", broken_rename)
    if fail == "write":
        monkeypatch.setattr(bundle_module, "_manifest_sha256", lambda _: 1 / 0)
    with pytest.raises((BundleError, OSError, ZeroDivisionError)):
        write(place, overwrite=True, check=check, card="new")
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == (["place"] if there else [])
    if there:
        assert read_bundle(place).metrics == {"valid": {"loss": 7.0}}


def test_a_bundle_can_be_read_by_others_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write(tmp_path / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755
    assert {(tmp_path / "b" / name).stat().st_mode & 0o777 for name in PLAIN_FILES} == {0o644}


def test_reading_a_bundle_needs_no_torch(whole: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lstm_lm.bundle import read_bundle\n"
        "import lstm_lm.export.opening, lstm_lm.cli.predict, lstm_lm.cli.generate\n"
        f"read_bundle(Path({str(whole)!r}))\n"
        "print([name for name in ('torch', 'lightning', 'hydra', 'omegaconf', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
