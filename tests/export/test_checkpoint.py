"""A checkpoint gives a whole model, or one clear error."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import PRESETS, checkpoint_content, small_network, small_vocabulary, write_small_bundle

from lstm_lm.errors import CheckpointError
from lstm_lm.export.checkpoint import load_trained, read_checkpoint
from lstm_lm.export.loading import load_model
from lstm_lm.nn.config import ModelConfig


def test_a_checkpoint_gives_back_the_model_and_all_that_belongs_to_it(tmp_path: Path) -> None:
    network = small_network(ModelConfig(embedding_dim=8, hidden_dims=[8], output_dropout=0.5))
    torch.save(checkpoint_content(network) | {"optimizer_states": [{}], "epoch": 3}, tmp_path / "best.ckpt")
    trained = read_checkpoint(tmp_path / "best.ckpt")
    assert not trained.model.training
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in trained.model.state_dict().items())
    assert (trained.config, trained.vocabulary, trained.tokenizer) == (network.config, small_vocabulary(), "whitespace")
    assert (trained.presets, trained.default_preset) == (PRESETS, "balanced")
    assert trained.data.dir == "a/place/of/its/own"
    assert trained.metrics["valid"]["loss"] == 4.0


def test_a_bundle_is_loaded_as_its_checkpoint_is_but_for_places(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "mine")
    trained, original = load_trained(folder), load_trained(tmp_path / "mine.ckpt")
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, original.model.state_dict()[name])
    assert (trained.vocabulary, trained.presets, trained.metrics) == (
        original.vocabulary,
        original.presets,
        original.metrics,
    )
    assert (trained.data.source, trained.data.dir) == ("text_files", None)
    answers = [load_model(path, "torch")[0].predict("I want", 5) for path in (folder, tmp_path / "mine.ckpt")]
    assert answers[0] == answers[1]


def test_a_checkpoint_of_format_1_is_read_under_its_old_field_names(tmp_path: Path) -> None:
    content = checkpoint_content(small_network())
    record = content["lstm_lm"]
    record["format"] = 1
    record["model"]["output_cutoffs"] = record["model"].pop("cutoffs")
    record["data"]["name"] = record["data"].pop("source")
    torch.save(content, tmp_path / "old.ckpt")
    trained = read_checkpoint(tmp_path / "old.ckpt")
    assert (trained.config.cutoffs, trained.data.source) == ([], "text_files")


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
        (lambda c: c["lstm_lm"].update(format=3), r"format 3 is not one of 1 to 2.*update lstm-lm"),
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
def test_what_does_not_fit_is_named(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    torch.save(changed(change), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(tmp_path / "x.ckpt")
    assert str(tmp_path / "x.ckpt") in str(caught.value)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(checkpoint_content(small_network()), path)
    whole = path.read_bytes()
    for content in (
        b"",
        b"hello\n" * 100,
        whole[: len(whole) // 2],
        whole[:-30],
        whole[:200] + whole[260:],
        b"PK\x03\x04",
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x\.ckpt"):
            read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        read_checkpoint(path)


class Trap:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path("trap").touch, ())


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_never_run(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = checkpoint_content(small_network()) | {"trap": Trap()}
    if how == "torch":
        torch.save(content, "x.ckpt")
    else:
        Path("x.ckpt").write_bytes(pickle.dumps({"trap": Trap()}, protocol=2))
    with pytest.raises(CheckpointError, match=r"holds more than plain data|is not a checkpoint"):
        read_checkpoint(Path("x.ckpt"))
    assert not Path("trap").exists()
