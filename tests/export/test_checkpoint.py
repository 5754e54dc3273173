"""A checkpoint gives a complete model or a clear error."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_models import PRESETS, checkpoint_content, small_network, small_vocabulary, write_small_bundle

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.errors import CheckpointError
from lstm_lm.loading import load_model
from lstm_lm.nn.config import ModelConfig


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    network = small_network(ModelConfig(embedding_dim=8, hidden_dims=[8], output_dropout=0.5))
    torch.save(checkpoint_content(network) | {"optimizer_states": [{}], "epoch": 3}, tmp_path / "best.ckpt")
    trained = read_checkpoint(tmp_path / "best.ckpt")
    assert not trained.network.training
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in trained.network.state_dict().items())
    assert (trained.metadata.model, trained.vocabulary, trained.metadata.tokenizer) == (
        network.config,
        small_vocabulary(),
        "whitespace",
    )
    assert (trained.metadata.presets, trained.metadata.default_preset) == (PRESETS, "balanced")
    assert trained.metadata.data.dir == "not/on/this/machine"
    assert trained.metadata.metrics["valid"]["loss"] == 4.0


def test_bundle_loads_like_its_checkpoint_without_local_paths(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "mine")
    trained, original = load_model(folder), load_model(tmp_path / "mine.ckpt")
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(tensor, original.network.state_dict()[name])
    assert (trained.vocabulary, trained.metadata.presets, trained.metadata.metrics) == (
        original.vocabulary,
        original.metadata.presets,
        original.metadata.metrics,
    )
    assert (trained.metadata.data.source, trained.metadata.data.dir) == ("text_files", None)
    predictions = [load_model(path).engine("torch").predict("I want", 5) for path in (folder, tmp_path / "mine.ckpt")]
    assert predictions[0] == predictions[1]


def test_format_1_checkpoint_is_upgraded(tmp_path: Path) -> None:
    content = checkpoint_content(small_network())
    metadata = content["lstm_lm"]
    metadata["format"] = 1
    metadata["model"]["output_cutoffs"] = metadata["model"].pop("cutoffs")
    metadata["data"]["name"] = metadata["data"].pop("source")
    torch.save(content, tmp_path / "old.ckpt")
    trained = read_checkpoint(tmp_path / "old.ckpt")
    assert (trained.metadata.model.cutoffs, trained.metadata.data.source) == ([], "text_files")


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = checkpoint_content(small_network())
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("lstm_lm"), "is not a checkpoint of lstm-lm"),
        (lambda c: c.update(lstm_lm=3), "lstm_lm: must be a mapping"),
        (lambda c: c.pop("state_dict"), "state_dict: must be a mapping"),
        (
            lambda c: c["lstm_lm"].update(format=3),
            "format 3 is newer than 2, the newest",
        ),
        (lambda c: c["lstm_lm"].pop("format"), "format: missing field"),
        (lambda c: c["lstm_lm"].pop("vocabulary"), "vocabulary: missing field"),
        (lambda c: c["lstm_lm"]["vocabulary"]["words"].pop(), "48 words need as many counts"),
        (lambda c: c["lstm_lm"]["model"].update(hidden_dims=[5]), "model.tie_weights: needs embedding_dim"),
        (lambda c: c["lstm_lm"]["model"].update(hidden_dims=[16]), "is unexpected"),
        (lambda c: c["lstm_lm"]["model"].update(depth=2), "model.depth: unknown field"),
        (lambda c: c["lstm_lm"].update(default_preset="x"), r"default_preset: .*\(got 'x'\)"),
        (lambda c: c["state_dict"].pop("model.output_bias"), "output_bias is missing"),
        (lambda c: c["state_dict"].update({"model.output_bias": torch.zeros(2)}), r"output_bias has shape \(2,\)"),
        (lambda c: c["state_dict"]["model.output_bias"].fill_(torch.nan), "output_bias contains infinity or NaN"),
    ],
)
def test_inconsistent_field_is_named(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    torch.save(changed(change), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=message) as caught:
        _ = read_checkpoint(tmp_path / "x.ckpt").network
    assert str(tmp_path / "x.ckpt") in str(caught.value)


def test_damaged_or_foreign_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(checkpoint_content(small_network()), path)
    complete = path.read_bytes()
    for content in (
        b"",
        b"hello\n" * 100,
        complete[: len(complete) // 2],
        complete[:-30],
        complete[:200] + complete[260:],
        b"PK\x03\x04",
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x\.ckpt"):
            read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="contains a list"):
        read_checkpoint(path)


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path("trap").touch, ())


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_checkpoint_never_runs(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = checkpoint_content(small_network()) | {"trap": Trap()}
    if how == "torch":
        torch.save(content, "x.ckpt")
    else:
        Path("x.ckpt").write_bytes(pickle.dumps({"trap": Trap()}, protocol=2))
    with pytest.raises(CheckpointError, match=r"contains more than plain data|is not a checkpoint"):
        read_checkpoint(Path("x.ckpt"))
    assert not Path("trap").exists()
