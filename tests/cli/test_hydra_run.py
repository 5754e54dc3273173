"""Run folders, sweeps and their tables, with jobs that do nothing."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lstm_lm.cli.hydra_run import run
from lstm_lm.cli.sweep import STATUS_FILE, collect_jobs
from lstm_lm.config.schema import TrainConfig
from lstm_lm.errors import ConfigError, DataError, LstmLmError, TrainingInterruptedError

ran: list[tuple[TrainConfig, Path]] = []


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran.clear()


def job(config: TrainConfig, folder: Path) -> None:
    ran.append((config, folder))


def scoring_job(config: TrainConfig, folder: Path) -> None:
    """The score depends on the learning rate; some seeds raise an error."""
    ran.append((config, folder))
    if config.seed == 13:
        raise DataError("the corpus is gone")
    if config.seed == 14:
        raise ZeroDivisionError("a defect")
    if config.seed == 15:
        raise TrainingInterruptedError(15, folder / "last.ckpt")
    if config.seed == 16:
        raise KeyboardInterrupt
    score = {"perplexity": 100 * config.optimizer.lr, "loss": 1.0, "top1": 0.25}
    (folder / "metrics.json").write_text(json.dumps({"valid": score, "wall_seconds": 90.0}))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestOneRun:
    def test_run_has_a_folder_and_keeps_the_working_directory(self, tmp_path: Path) -> None:
        arguments = list(sys.argv)
        run("train", ["model=tiny", "hydra.run.dir=mine"], job)
        ((config, folder),) = ran
        assert Path.cwd() == tmp_path
        assert folder == tmp_path / "mine"
        assert config.model.embedding_dim == 64
        assert OmegaConf.load(folder / ".hydra" / "overrides.yaml") == ["model=tiny"]
        assert (folder / "train.log").is_file()
        assert sys.argv == arguments

    @pytest.mark.parametrize(
        ("command", "lines"), [("train", []), ("eval", ["checkpoint=x"]), ("export", ["checkpoint=x", "out=y"])]
    )
    def test_default_run_folder(self, command: str, lines: list[str], tmp_path: Path) -> None:
        run(command, lines, job)
        assert ran[0][1].parent.parent == tmp_path / "outputs" / command
        assert (ran[0][1] / f"{command}.log").is_file()

    def test_invalid_config_creates_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError):
            run("train", ["optimizer.lr=0"], job)
        with pytest.raises(ConfigError):
            run("train", ["-m", "optimizer.lr=1,0"], job)
        assert not ran
        assert list(tmp_path.iterdir()) == []

    def test_error_is_raised_and_logged(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(DataError, match="the corpus is gone"):
            run("train", ["seed=13", "hydra.run.dir=mine"], scoring_job)
        assert "the corpus is gone" in (tmp_path / "mine" / "train.log").read_text()
        assert "HYDRA_FULL_ERROR" not in capsys.readouterr().err

    def test_flags_and_overrides_can_be_mixed(self, capsys: pytest.CaptureFixture[str]) -> None:
        run("train", ["model=tiny", "--cfg", "job", "seed=3"], job)
        shown = OmegaConf.create(capsys.readouterr().out)
        assert not ran
        assert (shown.model.embedding_dim, shown.seed) == (64, 3)

    def test_cfg_reports_mistakes(self) -> None:
        with pytest.raises(ConfigError, match="did you mean tiny"):
            run("train", ["--cfg", "job", "model=tny"], job)

    @pytest.mark.parametrize("flag", ["--config-name=x", "--config-path=x", "--experimental-rerun=x"])
    def test_unsupported_flags_are_rejected(self, flag: str) -> None:
        with pytest.raises(ConfigError, match="--config-dir"):
            run("train", [flag], job)


class TestSweeps:
    def test_each_job_has_a_folder_and_the_table_is_sorted(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run("train", ["-m", "model=tiny,small", "optimizer.lr=3,1", "hydra.sweep.dir=sweep"], scoring_job)
        assert [folder for _, folder in ran] == [tmp_path / "sweep" / str(number) for number in range(4)]
        rows = table(tmp_path / "sweep")
        assert [float(row["perplexity"]) for row in rows] == [100, 100, 300, 300]
        assert rows[0]["overrides"] == "model=tiny optimizer.lr=1"
        assert {row["status"] for row in rows} == {"done"}
        assert {row["minutes"] for row in rows} == {"1.5"}
        assert (Path(rows[0]["folder"]) / "metrics.json").is_file()
        assert "4 of 4 jobs" in capsys.readouterr().out

    def test_default_sweep_folder(self, tmp_path: Path) -> None:
        run("train", ["seed=1,2", "-m"], scoring_job)
        (folder,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
        assert len(table(folder)) == 2

    def test_failed_job_does_not_stop_the_sweep(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(LstmLmError, match="2 of 4 jobs"):
            run("train", ["-m", "seed=13,1,14,2", "hydra.sweep.dir=sweep"], scoring_job)
        rows = {row["overrides"]: row for row in table(tmp_path / "sweep")}
        assert rows["seed=1"]["status"] == rows["seed=2"]["status"] == "done"
        assert (rows["seed=13"]["status"], rows["seed=13"]["reason"]) == ("failed", "the corpus is gone")
        assert rows["seed=14"]["reason"] == "ZeroDivisionError: a defect"
        assert "Traceback" in (tmp_path / "sweep" / "2" / "train.log").read_text()
        assert "the corpus is gone" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("seed", "stopped", "code"), [(15, SystemExit, 143), (16, KeyboardInterrupt, None)], ids=["SIGTERM", "Ctrl-C"]
    )
    def test_interrupted_sweep_reports_its_finished_jobs(
        self, seed: int, stopped: type[BaseException], code: int | None, tmp_path: Path
    ) -> None:
        with pytest.raises(stopped) as caught:
            run("train", ["-m", f"seed=1,{seed},2", "hydra.sweep.dir=sweep"], scoring_job)
        assert getattr(caught.value, "code", None) == code
        assert [row["status"] for row in table(tmp_path / "sweep")] == ["done", "interrupted"]

    def test_killed_job_counts_as_failed(self, tmp_path: Path) -> None:
        run("train", ["-m", "seed=1", "hydra.sweep.dir=sweep"], scoring_job)
        # a killed process leaves the status "running"
        (tmp_path / "sweep" / "0" / STATUS_FILE).write_text(json.dumps({"status": "running"}))
        (result,) = collect_jobs(tmp_path / "sweep", 0.0)
        assert (result.status, result.perplexity) == ("failed", None)
        assert result.reason == "the process died without an error; possibly out of memory"

    def test_older_jobs_in_the_folder_are_ignored(self, tmp_path: Path) -> None:
        run("train", ["-m", "seed=1,2,3", "hydra.sweep.dir=sweep"], scoring_job)
        for file in (tmp_path / "sweep").rglob("overrides.yaml"):
            os.utime(file, (1, 1))
        run("train", ["-m", "seed=4", "hydra.sweep.dir=sweep"], scoring_job)
        assert [row["overrides"] for row in table(tmp_path / "sweep")] == ["seed=4"]

    def test_sweep_folder_with_special_characters(self, tmp_path: Path) -> None:
        run("train", ["-m", "seed=1", "hydra.sweep.dir='a, b=${hydra.job.name}'"], scoring_job)
        assert len(table(tmp_path / "a, b=train")) == 1
