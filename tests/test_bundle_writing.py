"""A bundle is written completely or not at all, and replaces nothing but a bundle."""

import json
import os
from pathlib import Path

import pytest
from helpers.small_models import PRESETS, small_network, small_vocabulary, write_plain_bundle, write_small_bundle

from lstm_lm.bundle import Bundle, read_bundle
from lstm_lm.errors import BundleError
from lstm_lm.export import bundle_writer
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.nn.config import ModelConfig

PLAIN_FILES = ("manifest.json", "model.safetensors", "vocabulary.json", "rules.json", "README.md")


def test_round_trip(tmp_path: Path) -> None:
    written = write_plain_bundle(tmp_path / "a" / "b", metrics={"valid": {"loss": 4.5}})
    read = read_bundle(tmp_path / "a" / "b")
    assert read == written
    assert read.metadata.metrics == {"valid": {"loss": 4.5}}
    assert (read.metadata.presets, read.metadata.default_preset) == (PRESETS, "balanced")
    assert set(read.files) == set(PLAIN_FILES)
    assert {entry.name for entry in (tmp_path / "a").iterdir()} == {"b"}


def test_manifest_content(tmp_path: Path) -> None:
    manifest = json.loads((write_small_bundle(tmp_path / "b") / "manifest.json").read_text())
    assert manifest["format"] == 2
    assert manifest["vocabulary_size"] == len(small_vocabulary())
    assert ModelConfig(**manifest["model"]) == small_network().config
    # the card is not among them: people edit it
    assert {"manifest.json", "README.md", *manifest["files"]} == {*PLAIN_FILES, "model.onnx", "model.int8.onnx"}


@pytest.mark.parametrize("tie_weights", [True, False])
def test_tied_weights_are_stored_once(tie_weights: bool, tmp_path: Path) -> None:
    config = ModelConfig(embedding_dim=16, hidden_dims=[16], tie_weights=tie_weights)
    network = small_network(config)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    read = write_plain_bundle(tmp_path / "b", model=config, weights=weights)
    size = read.files["model.safetensors"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 4 * parameters < size < 4 * parameters + 2000
    expected = Engine(TorchBackend(network), small_vocabulary(), PRESETS, "balanced").predict("I want", 5).suggestions
    actual = read.engine().predict("I want", 5).suggestions
    assert [suggestion.word for suggestion in actual] == [suggestion.word for suggestion in expected]
    # on some processors the last bits depend on the memory alignment of the weights
    assert [s.probability for s in actual] == pytest.approx([s.probability for s in expected], rel=1e-5)


def test_only_a_bundle_is_replaced_and_only_with_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    write_plain_bundle(target)
    with pytest.raises(BundleError, match=r"is a bundle already; .*export\.overwrite=true"):
        write_plain_bundle(target)
    write_plain_bundle(target, metrics={"valid": {"loss": 1.0}}, overwrite=True)
    assert read_bundle(target).metadata.metrics == {"valid": {"loss": 1.0}}

    (target / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"contains files that are not part of the bundle \(notes\.txt\)"):
        write_plain_bundle(target, overwrite=True)

    for kind in ("folder", "file"):
        other = tmp_path / kind
        if kind == "file":
            other.write_text("mine")
        else:
            other.mkdir()
            (other / "thesis.txt").write_text("mine")
        with pytest.raises(BundleError, match="is not a bundle, so it is not replaced"):
            write_plain_bundle(other, overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    assert {entry.name for entry in tmp_path.iterdir()} == {"target", "folder", "file"}


def test_folder_created_during_the_export_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "target"

    def write_thesis(_: Bundle) -> None:
        target.mkdir()
        (target / "thesis.txt").write_text("mine")

    with pytest.raises(BundleError, match="is not a bundle, so it is not replaced"):
        write_plain_bundle(target, overwrite=True, check=write_thesis)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["target", "target/thesis.txt"]


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("fail", ["check", "write", "rename"])
def test_failure_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, fail: str) -> None:
    target = tmp_path / "target"
    if exists:
        write_plain_bundle(target, metrics={"valid": {"loss": 7.0}})

    def check(bundle: Bundle) -> None:
        if fail == "check":
            raise BundleError("not equal")

    rename = Path.rename

    def broken_rename(self: Path, new_path: Path) -> Path:
        if new_path == target and (self / "manifest.json").is_file() and "new" in (self / "README.md").read_text():
            raise OSError(28, "No space left on device")
        return rename(self, new_path)

    if fail == "rename":
        monkeypatch.setattr(Path, "rename", broken_rename)
    if fail == "write":
        monkeypatch.setattr(bundle_writer, "manifest_sha256", lambda _: 1 / 0)
    with pytest.raises((BundleError, OSError, ZeroDivisionError)):
        write_plain_bundle(target, overwrite=True, check=check, card="new")
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == (["target"] if exists else [])
    if exists:
        assert read_bundle(target).metadata.metrics == {"valid": {"loss": 7.0}}


def test_file_modes_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_plain_bundle(tmp_path / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755
    assert {(tmp_path / "b" / name).stat().st_mode & 0o777 for name in PLAIN_FILES} == {0o644}
