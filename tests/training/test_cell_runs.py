"""Every cell through a run: train, resume, score in every way, export; and a cell from outside the project."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import preloaded
from helpers.small_runs import ConfigFactory, assert_same_weights, interrupt_at

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.errors import CheckpointError, ConfigError, TrainingInterruptedError
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.run import evaluate
from lstm_lm.evaluation.score import Score
from lstm_lm.export.bundle_export import export_bundle
from lstm_lm.nn.config import ModelConfig
from lstm_lm.training.config import TrainConfig
from lstm_lm.training.run import train

CELLS: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm"},
    "cifg": {"cell": "cifg"},
    "mogrifier": {"cell": "mogrifier", "cell_options": {"rounds": 3, "rank": 4}},
}


def with_cell(config: TrainConfig, settings: dict[str, Any]) -> TrainConfig:
    return replace(config, model=replace(config.model, **settings))


@pytest.mark.parametrize("name", list(CELLS))
def test_a_cell_through_a_run(
    name: str, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_cell(config(), CELLS[name])
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    metrics = train(settings, whole)
    first, *_, last = (entry["perplexity"] for entry in metrics["history"])
    assert last < first
    with monkeypatch.context() as patch:
        interrupt_at(50, patch)
        with pytest.raises(TrainingInterruptedError):
            train(settings, parts)
    train(replace(settings, resume=str(parts / "checkpoints" / "last.ckpt")), parts)
    assert_same_weights(whole, parts)

    trained = read_checkpoint(whole / "checkpoints" / "best.ckpt")
    assert (trained.metadata.model.cell, trained.metadata.model.cell_options) == (
        name,
        CELLS[name].get("cell_options", {}),
    )
    losses = {}
    for evaluation in ("static", "cache", "dynamic", "dynamic_cache"):
        how = EvaluationConfig(evaluation, window_length=10, gradient_windows=20)
        score = evaluate(trained.network, trained.vocabulary, trained.metadata.data, how, "valid").score
        assert isinstance(score, Score)
        losses[evaluation] = score.loss
    assert losses["static"] == pytest.approx(metrics["valid"]["loss"], abs=0.05), "training read valid as streams"
    assert losses["dynamic"] < losses["static"]
    assert losses["cache"] != losses["static"] != losses["dynamic_cache"]

    report = export_bundle(whole, tmp_path / "bundle")
    assert list(report.parity) == ["model.safetensors", "model.onnx", "model.int8.onnx"]
    assert report.parity["model.onnx"].max_difference < 1e-4
    assert report.bundle.metadata.model == trained.metadata.model


def test_a_checkpoint_without_a_cell_is_of_an_lstm_and_can_be_resumed(config: ConfigFactory, tmp_path: Path) -> None:
    settings = config(trainer=replace(config().trainer, max_steps=10))
    train(settings, tmp_path)
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    assert (content["lstm_lm"]["model"].pop("cell"), content["lstm_lm"]["model"].pop("cell_options")) == ("lstm", {})
    assert set(content["lstm_lm"]["state"]) == {"hidden", "cell"}, "the state as in earlier versions"
    torch.save(content, path)
    assert read_checkpoint(path).metadata.model.cell == "lstm"
    longer = replace(settings, trainer=replace(settings.trainer, max_steps=12), resume=str(path))
    assert train(longer, tmp_path)["steps"] == 12


def test_a_run_with_another_cell_cannot_be_resumed(config: ConfigFactory, tmp_path: Path) -> None:
    settings = with_cell(config(trainer=replace(config().trainer, max_steps=2)), CELLS["mogrifier"])
    train(settings, tmp_path)
    last = str(tmp_path / "checkpoints" / "last.ckpt")
    other = with_cell(settings, {"cell_options": {"rounds": 5, "rank": 4}})
    with pytest.raises(CheckpointError, match=r"model\.cell_options\.rounds is 3 in the checkpoint and 5 now"):
        train(replace(other, resume=last), tmp_path)
    # options that are not given have their defaults: {rank: 4} alone means the same as with rounds: 5
    with pytest.raises(CheckpointError, match=r"model\.cell_options\.rounds is 3 in the checkpoint and 5 now"):
        train(replace(with_cell(settings, {"cell_options": {"rank": 4}}), resume=last), tmp_path)


OUTSIDE = '''
"""A gated recurrent unit with one tensor as its state: a cell from outside the package."""

from dataclasses import dataclass

import torch

from lstm_lm.nn.cells.base import Cell
from lstm_lm.settings import Settings, setting


@dataclass
class Options(Settings):
    slowness: float = setting(1.0, ge=0, help="Added to the update gate.")


class MinimalGRU(Cell):
    Options = Options
    state_names = ("hidden",)

    def __init__(self, input_dim, hidden_dim, weight_dropout, options):
        super().__init__(input_dim, hidden_dim, weight_dropout, options)
        self.weight = self.parameter(2 * hidden_dim, input_dim)
        self.weight_hidden = self.parameter(2 * hidden_dim, hidden_dim)

    def forward(self, features, state):
        hidden, outputs = state[0][0], []
        weight, recurrent = self.weight, self.dropped(self.weight_hidden)
        for step in features.unbind(1):
            gate, candidate = (step @ weight.t() + hidden @ recurrent.t()).chunk(2, dim=1)
            update = torch.sigmoid(gate + self.options.slowness)
            hidden = update * hidden + (1 - update) * torch.tanh(candidate)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1), (hidden[None],)
'''


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a cell in one file and a YAML of one's own."""
    (tmp_path / "minimal_gru.py").write_text(OUTSIDE)
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "gru.yaml").write_text(
        "# @package model\ncell: minimal_gru:MinimalGRU\ncell_options:\n  slowness: 1.0\n"
    )
    return tmp_path


def lstm_lm(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        preloaded.command(*arguments),
        env=os.environ | {"PYTHONPATH": str(folder)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_cell_from_a_folder_outside_the_project_is_one_file_and_one_yaml(outside: Path, corpus: Path) -> None:
    files = {file.name for file in outside.rglob("*") if file.is_file()}
    assert files == {"minimal_gru.py", "gru.yaml"}
    done = lstm_lm(
        outside,
        *("train", "--config-dir", str(outside), "cell=gru", "model=tiny", "model.cell_options.slowness=0.5"),
        *("model.weight_dropout=0.2", "data=text_files", f"data.dir={corpus}", "batching.batch_size=4"),
        *("trainer.max_steps=20", "hydra.run.dir=run"),
    )
    assert done.returncode == 0, done.stderr
    refused = lstm_lm(outside, "eval", "checkpoint=run", "split=valid")
    assert refused.returncode == 1
    assert "minimal_gru:MinimalGRU is not part of lstm_lm" in refused.stderr
    assert "set LSTM_LM_CELLS=minimal_gru" in refused.stderr
    assert "Traceback" not in refused.stderr
    trusted = {"LSTM_LM_CELLS": "minimal_gru"}
    for evaluation in ("static", "dynamic"):
        done = lstm_lm(outside, "eval", "checkpoint=run", "split=valid", f"evaluation={evaluation}", **trusted)
        assert done.returncode == 0, done.stderr
    done = lstm_lm(outside, "export", "checkpoint=run", "out=bundle", **trusted)
    assert done.returncode == 0, done.stderr
    assert "torch only: minimal_gru:MinimalGRU has no ONNX nodes" in done.stdout
    assert not list((outside / "bundle").glob("*.onnx"))
    for model in ("run", "bundle"):
        words = ("predict", "--model", model, "--text", "the", "--k", "3")
        done = lstm_lm(outside, *words, **trusted)
        assert done.returncode == 0, done.stderr
        assert "LSTM_LM_CELLS" in lstm_lm(outside, *words).stderr


def test_a_mistake_in_the_users_cell_is_reported(config: ConfigFactory, tmp_path: Path) -> None:
    settings = config(model=ModelConfig(8, [8], cell="not_there_at_all:Cell"))
    assert settings.problems() == [
        "model.cell: no module named not_there_at_all; install it, or add its folder to PYTHONPATH "
        "(got not_there_at_all:Cell)"
    ]
    with pytest.raises(ConfigError, match="no module named not_there_at_all"):
        train(settings, tmp_path)
    graphs = replace(settings, model=ModelConfig(8, [8], cell="cifg"), trainer=replace(settings.trainer))
    graphs.trainer.cuda_graphs = True
    assert graphs.problems() == [
        "trainer.cuda_graphs: only lstm was tested with them (got model.cell=cifg); set trainer.cuda_graphs=false"
    ]
