"""A bundle is written whole or not at all, and in nobody's place."""

import json
import os
from pathlib import Path

import pytest
from small_models import PRESETS, small_network, small_vocabulary, write_plain_bundle, write_small_bundle

from lstm_lm import bundle as bundle_module
from lstm_lm.bundle import Bundle, build_engine, read_bundle
from lstm_lm.errors import BundleError
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.nn.config import ModelConfig

PLAIN_FILES = ("manifest.json", "model.safetensors", "vocabulary.json", "README.md")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write_plain_bundle(tmp_path / "a" / "b", metrics={"valid": {"loss": 4.5}})
    read = read_bundle(tmp_path / "a" / "b")
    assert read == written
    assert read.metrics == {"valid": {"loss": 4.5}}
    assert (read.presets, read.default_preset) == (PRESETS, "balanced")
    assert set(read.files) == set(PLAIN_FILES)
    assert {entry.name for entry in (tmp_path / "a").iterdir()} == {"b"}


def test_the_manifest_says_what_is_in_it(tmp_path: Path) -> None:
    manifest = json.loads((write_small_bundle(tmp_path / "b") / "manifest.json").read_text())
    assert manifest["format"] == 2
    assert manifest["vocabulary_size"] == len(small_vocabulary())
    assert ModelConfig(**manifest["model"]) == small_network().config
    assert {"manifest.json", *manifest["files"]} == {*PLAIN_FILES, "model.onnx", "model.int8.onnx"}


@pytest.mark.parametrize("tie_weights", [True, False])
def test_tied_weights_are_stored_once_and_stay_tied(tie_weights: bool, tmp_path: Path) -> None:
    config = ModelConfig(embedding_dim=16, hidden_dims=[16], tie_weights=tie_weights)
    network = small_network(config)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    read = write_plain_bundle(tmp_path / "b", model=config, weights=weights)
    size = read.files["model.safetensors"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 4 * parameters < size < 4 * parameters + 2000
    words = (small_vocabulary(), PRESETS, "balanced")
    ours = Engine(TorchBackend(network), *words).predict("I want", 5).suggestions
    found = build_engine(read).predict("I want", 5).suggestions
    assert [suggestion.word for suggestion in found] == [suggestion.word for suggestion in ours]
    # on some processors the last bits depend on where the weights are in memory
    assert [suggestion.probability for suggestion in found] == pytest.approx([s.probability for s in ours], rel=1e-5)


def test_only_a_bundle_is_replaced_and_only_on_request(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    write_plain_bundle(place)
    with pytest.raises(BundleError, match=r"holds a bundle already; export\.overwrite=true"):
        write_plain_bundle(place)
    write_plain_bundle(place, metrics={"valid": {"loss": 1.0}}, overwrite=True)
    assert read_bundle(place).metrics == {"valid": {"loss": 1.0}}

    (place / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"holds files that are not the bundle's \(notes\.txt\)"):
        write_plain_bundle(place, overwrite=True)

    for kind in ("folder", "file"):
        other = tmp_path / kind
        if kind == "file":
            other.write_text("mine")
        else:
            other.mkdir()
            (other / "thesis.txt").write_text("mine")
        with pytest.raises(BundleError, match="not a bundle, so it stays"):
            write_plain_bundle(other, overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    assert {entry.name for entry in tmp_path.iterdir()} == {"place", "folder", "file"}


def test_what_came_to_its_place_meanwhile_stays(tmp_path: Path) -> None:
    place = tmp_path / "place"

    def somebody_writes(_: Bundle) -> None:
        place.mkdir()
        (place / "thesis.txt").write_text("mine")

    with pytest.raises(BundleError, match="not a bundle, so it stays"):
        write_plain_bundle(place, overwrite=True, check=somebody_writes)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["place", "place/thesis.txt"]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("fail", ["check", "write", "rename"])
def test_a_failure_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, fail: str
) -> None:
    place = tmp_path / "place"
    if there:
        write_plain_bundle(place, metrics={"valid": {"loss": 7.0}})

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
        write_plain_bundle(place, overwrite=True, check=check, card="new")
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == (["place"] if there else [])
    if there:
        assert read_bundle(place).metrics == {"valid": {"loss": 7.0}}


def test_a_bundle_can_be_read_by_others_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_plain_bundle(tmp_path / "b")
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755
    assert {(tmp_path / "b" / name).stat().st_mode & 0o777 for name in PLAIN_FILES} == {0o644}
