"""Several processes equal one with the same global batch; all end when one does, and a resumed run is exact."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import KillAt, train_on
from helpers.small_runs import ConfigFactory, assert_same_weights, optimizer_config, schedule_config, weights

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.data.config import BatchingConfig
from lstm_lm.errors import CheckpointError, ConfigError
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.training.averaging import AveragingConfig
from lstm_lm.training.config import TrainConfig, TrainerConfig
from lstm_lm.training.ranks import check_launch, is_rank_zero
from lstm_lm.training.run import train

CSV = {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "name": "csv", "version": 0}}
SAMPLED = LossConfig("sampled_softmax", num_frequent=4, num_sampled=8)
WITHOUT_DROPOUT = ModelConfig(16, [24, 16])


def files(run_dir: Path) -> list[str]:
    return sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file())


def losses(run_dir: Path) -> list[float]:
    with (run_dir / "csv" / "version_0" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in ("train/loss", "valid/loss") if row[name]]


def with_batch(config: TrainConfig, batch_size: int) -> TrainConfig:
    return replace(config, batching=replace(config.batching, batch_size=batch_size))


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        {"optimizer": optimizer_config("sgd", lr=1.0)},
        {"optimizer": optimizer_config("row_adamw", lr=1e-2), "loss": SAMPLED},
    ],
    ids=["sgd", "row_adamw"],
)
def test_two_processes_equal_one_with_the_same_global_batch(
    overrides: dict[str, Any], config: ConfigFactory, tmp_path: Path
) -> None:
    trainer = TrainerConfig(precision="fp32", max_steps=12, val_check_interval=0.1, log_every_n_steps=1)
    one = config(**overrides, model=WITHOUT_DROPOUT, trainer=trainer, logger=CSV)
    assert train_on(one, tmp_path / "one", num_ranks=1)[0] == [0]
    assert train_on(with_batch(one, 4), tmp_path / "two")[0] == [0, 0]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    assert len(losses(tmp_path / "one")) > 12
    assert files(tmp_path / "two") == files(tmp_path / "one")


RESUMED = {
    "schedule": schedule_config("cosine", warmup_fraction=0.1),
    "optimizer": optimizer_config("row_adamw", lr=1e-2, weight_decay=0.1),
    "averaging": AveragingConfig("ema"),
    "loss": SAMPLED,
    "trainer": TrainerConfig(precision="fp32", max_epochs=1, val_check_interval=0.25),
    "batching": BatchingConfig(4, 4, 30, jitter=True, random_offset=True),
    "resume": "auto",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run; the first test fills it."""
    return tmp_path_factory.mktemp("runs") / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_and_resumes_exactly(
    killed: int, config: ConfigFactory, whole: Path, tmp_path: Path
) -> None:
    if not whole.is_dir():
        assert train_on(config(**RESUMED), whole)[0] == [0, 0]
    run_dir = tmp_path / "killed"
    statuses, outputs = train_on(config(**RESUMED), run_dir, [KillAt(25, killed)])
    assert statuses == ([-9, 1] if killed == 0 else [1, -9])
    lost = rf"^rank {1 - killed} lost another process of this run \(.*Connection (closed|reset) by peer"
    assert re.search(lost, outputs[1 - killed], re.MULTILINE)
    last = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    assert 0 < last.content["global_step"] <= 25
    hidden = last.content["lstm_lm"]["state"]["hidden"][0]
    assert hidden.shape == (1, 8, 24), "the streams of both processes"
    assert not torch.equal(hidden[:, :4], hidden[:, 4:])

    assert train_on(config(**RESUMED), run_dir)[0] == [0, 0]
    for name in ("last", "best"):
        assert_same_weights(whole, run_dir, name)
    one, other = (torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (whole, run_dir))
    states = [content["optimizer_states"][0]["state"] for content in (one, other)]
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert any("last_step" in state for state in states[0].values()), "the processes exchange rows"
    torch.testing.assert_close(one["lstm_lm"]["state"], other["lstm_lm"]["state"], rtol=0, atol=0)
    assert files(run_dir) == files(whole)


@pytest.mark.slow
def test_processes_that_differ_are_refused(config: ConfigFactory, whole: Path, tmp_path: Path) -> None:
    statuses, outputs = train_on([config(), config(seed=2)], tmp_path / "run")
    assert statuses == [1, 1]
    assert "rank 1 differs from rank 0 in seed (1 and 2): start all processes with the same command" in outputs[1]
    assert "rank 0 lost another process" in outputs[0]
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_whose_others_never_start_ends(rank: int, config: ConfigFactory, tmp_path: Path) -> None:
    waits = config(trainer=TrainerConfig(precision="fp32", ddp_timeout="1s"))
    ((status,), (output,)) = train_on([waits, None] if rank == 0 else [None, waits], tmp_path / "run")
    assert status == 1
    message = rf"^rank {rank} cannot join the other processes of this run \(.*\): .* raise trainer\.ddp_timeout=1s if"
    assert re.search(message, output, re.MULTILINE)
    assert "Traceback" not in output
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_one_process_continues_a_run_of_two(
    config: ConfigFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same global batch, it has the same streams; rounding differs."""
    overrides = {"optimizer": optimizer_config("sgd", lr=1.0), "model": WITHOUT_DROPOUT, "resume": "auto"}
    two, one = (config(**overrides, batching=BatchingConfig(batch, 4, 30, jitter=True)) for batch in (4, 8))
    short = TrainerConfig(precision="fp32", max_steps=10)
    assert train_on(replace(two, trainer=short), tmp_path / "run")[0] == [0, 0]
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    longer = TrainerConfig(precision="fp32", max_steps=20)
    assert train_on(replace(two, trainer=longer), tmp_path / "run")[0] == [0, 0]
    train(replace(one, trainer=longer), tmp_path / "again")
    for name, tensor in weights(tmp_path / "run").items():
        torch.testing.assert_close(weights(tmp_path / "again")[name], tensor, atol=1e-5, rtol=1e-5)
    assert "trainer.num_nodes (checkpoint: 2, now: 1)" in caplog.text
    other = replace(
        two, trainer=TrainerConfig(precision="fp32", max_steps=30), resume=str(tmp_path / "run/checkpoints/last.ckpt")
    )
    with pytest.raises(
        CheckpointError, match=r"different batching \(batching\.batch_size is 8 in the checkpoint and 4"
    ):
        train(other, tmp_path / "other")


def test_a_process_beside_the_first_is_not_rank_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_rank_zero()
    monkeypatch.setenv("NODE_RANK", "1")
    assert is_rank_zero(), "a single process on the second machine of a cluster"
    monkeypatch.setenv("MASTER_ADDR", "host0")
    assert not is_rank_zero()


def test_torchrun_and_the_config_must_have_the_same_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"of 2 machines do not know where to meet; .* MASTER_ADDR, MASTER_PORT, NODE"
    ):
        check_launch(1, 2)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    check_launch(2, 2)
    for devices, num_nodes in ((1, 1), (4, 1), (1, 4)):
        with pytest.raises(
            ConfigError, match=r"torchrun started 4 processes, 2 on this .*trainer\.devices=2 trainer\.num_nodes=2"
        ):
            check_launch(devices, num_nodes)
