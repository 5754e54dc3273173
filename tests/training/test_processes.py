"""Distributed training (``trainer=ddp``), here with two processes on one CPU."""

import json
from pathlib import Path

import pytest
import torch
from helpers.real_commands import run, write_corpus
from helpers.small_runs import weights

SETTINGS = (
    "data=text_files",
    "data.dir=corpus",
    "model=tiny",
    "schedule=constant",
    "trainer.precision=fp32",
    "trainer.max_steps=10",  # Adam amplifies rounding differences
    "callbacks=quiet",
    "logger=none",
)
NO_DROPOUT = [f"model.{name}_dropout=0" for name in ("embedding", "input", "hidden", "output", "weight")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=sgd", "optimizer.lr=1", "loss=full_softmax"],
        [
            "optimizer=row_adamw",
            "optimizer.lr=1e-2",
            "loss=sampled_softmax",
            "loss.num_frequent=4",
            "loss.num_sampled=8",
        ],
    ],
    ids=["sgd", "row_adamw"],
)
def test_two_processes_match_one_with_twice_the_columns(overrides: list[str], tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    common = [*SETTINGS, *NO_DROPOUT, *overrides]
    run("train", *common, "batching.batch_size=8", "hydra.run.dir=one", cwd=tmp_path)
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "batching.batch_size=4"]
    run("train", *common, *two, "hydra.run.dir=two", cwd=tmp_path)
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert other["steps"] == one["steps"]
    assert other["valid"]["loss"] == pytest.approx(one["valid"]["loss"], rel=1e-4)
    for name, tensor in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], tensor, atol=1e-3, rtol=1e-3)
