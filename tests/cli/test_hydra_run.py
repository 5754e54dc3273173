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
from lstm_lm.errors import ConfigError, DataError, LstmLmError, TrainingInterruptedError
from lstm_lm.training.config import TrainConfig
from lstm_lm.training.run_folder import limits, lock_folder, open_run_folder

ran: list[tuple[TrainConfig, Path]] = []


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran.clear()


def job(config: TrainConfig, folder: Path) -> None:
    ran.append((config, folder))


def finishing_job(config: TrainConfig, folder: Path) -> None:
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "metrics.json").write_text(json.dumps({"stopped_by": "max_epochs", "limits": limits(config.trainer)}))


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
    if config.seed == 17:
        (folder / "metrics.json").write_text(json.dumps({"valid": {"perplexity": None}, "wall_seconds": 90.0}))
        return
    score = {"perplexity": 100 * config.optimizer["lr"], "loss": 1.0, "top1": 0.25}
    (folder / "metrics.json").write_text(json.dumps({"valid": score, "wall_seconds": 90.0}))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestOneRun:
    def test_relative_paths_mean_the_folder_of_the_command_if_hydra_changes_it(self, tmp_path: Path) -> None:
        (tmp_path / "corpus").mkdir()
        line = ["data=text_files", "data.dir=corpus", "data.cache_dir=cache", "hydra.run.dir=run"]
        run("train", [*line, "hydra.job.chdir=true"], job)
        data = ran[0][0].data
        assert (data.dir, data.cache_dir) == (str(tmp_path / "corpus"), str(tmp_path / "cache"))
        assert Path.cwd() == tmp_path

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

    def test_refused_folder_stays_as_it_is(self, tmp_path: Path) -> None:
        checkpoints = tmp_path / "mine" / "checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / "best.ckpt").write_text("mine")
        for command, lines in (("train", []), ("eval", ["checkpoint=x"]), ("export", ["checkpoint=x", "out=y"])):
            open_folder = open_run_folder if command == "train" else None
            with pytest.raises(LstmLmError, match=r"choose another hydra\.run\.dir"):
                run(command, [*lines, "hydra.run.dir=mine"], job, open_folder)
        assert not ran
        assert list((tmp_path / "mine").rglob("*")) == [checkpoints, checkpoints / "best.ckpt"]

    def test_finished_run_is_reported_without_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = ["resume=auto", "hydra.run.dir=mine", "trainer.max_epochs=3"]
        run("train", line, finishing_job, open_run_folder)
        run("train", line, job, open_run_folder)
        assert not ran
        assert f"{tmp_path / 'mine'}: this run is finished (ended by max_epochs)" in capsys.readouterr().out
        run("train", [*line, "trainer.max_epochs=4"], job, open_run_folder)
        assert ran

    def test_resume_auto_needs_a_folder_that_stays_the_same(self) -> None:
        with pytest.raises(ConfigError, match=r"resume: auto needs the same folder .*add hydra\.run\.dir=FOLDER"):
            run("train", ["resume=auto"], job, open_run_folder)
        with pytest.raises(ConfigError, match=r"add hydra\.sweep\.dir=FOLDER"):
            run("train", ["-m", "resume=auto", "seed=1,2"], job, open_run_folder)


class TestRepeatedSweeps:
    def test_only_missing_jobs_run_again(self, tmp_path: Path) -> None:
        with pytest.raises(LstmLmError, match="1 of 3 jobs"):
            run("train", ["-m", "seed=1,13,2", "hydra.sweep.dir=sweep"], scoring_job)
        ran.clear()
        with pytest.raises(LstmLmError, match="1 of 3 jobs"):
            run("train", ["-m", "hydra.sweep.dir=sweep", "seed=1,13,2"], scoring_job)
        assert [(config.seed, folder) for config, folder in ran] == [(13, tmp_path / "sweep" / "1")]
        assert {row["overrides"]: row["status"] for row in table(tmp_path / "sweep")} == {
            "seed=1": "done",
            "seed=13": "failed",
            "seed=2": "done",
        }
        run("train", ["-m", "seed=1,2", "hydra.sweep.dir=sweep"], scoring_job)
        assert len(ran) == 1
        assert len(table(tmp_path / "sweep")) == 2

    def test_job_is_known_by_its_overrides_not_by_its_number(self, tmp_path: Path) -> None:
        run("train", ["-m", "seed=1,2", "model=tiny", "hydra.sweep.dir=sweep"], scoring_job)
        ran.clear()
        run("train", ["-m", "model=tiny", "seed=0,2,1,3", "hydra.sweep.dir=sweep"], scoring_job)
        assert [(config.seed, folder.name) for config, folder in ran] == [(0, "2"), (3, "3")]
        assert sorted(row["job"] for row in table(tmp_path / "sweep")) == ["0", "1", "2", "3"]
        ran.clear()
        line = ["-m", "seed=5,6", "hydra.sweep.dir=sweep", "hydra.sweep.subdir='job_${hydra.job.num}'"]
        run("train", line, scoring_job)
        assert [folder.name for _, folder in ran] == ["job_0", "job_1"]

    def test_interrupted_job_continues_in_its_folder(self) -> None:
        with pytest.raises(SystemExit):
            run("train", ["-m", "seed=1,15,2", "hydra.sweep.dir=sweep"], scoring_job)
        ran.clear()
        with pytest.raises(SystemExit):
            run("train", ["-m", "seed=1,15,2", "hydra.sweep.dir=sweep"], scoring_job)
        assert [(config.seed, config.resume, folder.name) for config, folder in ran] == [(15, "auto", "1")]

    def test_evaluations_run_again(self, tmp_path: Path) -> None:
        line = ["-m", "checkpoint=x", "split=valid,test", "hydra.sweep.dir=sweep"]
        for _ in range(2):
            ran.clear()
            run("eval", line, job)
            assert [folder for _, folder in ran] == [tmp_path / "sweep" / "0", tmp_path / "sweep" / "1"]

    def test_job_without_a_result_of_an_interrupted_sweep_is_interrupted(self, tmp_path: Path) -> None:
        run("train", ["-m", "seed=1", "hydra.sweep.dir=sweep"], scoring_job)
        (tmp_path / "sweep" / "0" / STATUS_FILE).write_text(json.dumps({"status": "running"}))
        (result,) = collect_jobs(tmp_path / "sweep", {}, interrupted=True)
        assert (result.status, result.reason) == ("interrupted", "the sweep was stopped")

    def test_folder_is_used_by_one_sweep_at_a_time(self, tmp_path: Path) -> None:
        with lock_folder(tmp_path / "sweep"), pytest.raises(LstmLmError, match="in use by process"):
            run("train", ["-m", "seed=1,2", "hydra.sweep.dir=sweep"], job)
        assert not ran


class TestSweeps:
    def test_settings_inside_a_swept_group(self, tmp_path: Path) -> None:
        run("eval", ["-m", "checkpoint=x", "data.dir='a b'", "data=text_files,wikitext2"], job)
        assert [(config.data.source, config.data.dir) for config, _ in ran] == [  # type: ignore[attr-defined]
            ("text_files", "a b"),
            ("wikitext2", "a b"),
        ]
        ran.clear()
        line = ["checkpoint=x", "out=y", "sampling=precise,creative", "sampling.temperature=0.5"]
        run("export", ["-m", *line, "hydra.sweep.dir=sweep"], job)
        assert [config.sampling.temperature for config, _ in ran] == [0.5, 0.5]
        assert ran[0][0].sampling != ran[1][0].sampling
        assert table(tmp_path / "sweep")[0]["status"] == "done"

    def test_sweep_of_a_config_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        experiment = tmp_path / "configs" / "experiment"
        experiment.mkdir(parents=True)
        params = "params: {seed: '1,13', optimizer.lr: 2}"
        (experiment / "mine.yaml").write_text(
            f"# @package _global_\nhydra: {{mode: MULTIRUN, sweep: {{dir: sweep}}, sweeper: {{{params}}}}}\n"
        )
        with pytest.raises(LstmLmError, match="1 of 2 jobs failed"):
            run("train", ["--config-dir", "configs", "experiment=mine"], scoring_job)
        done, failed = table(tmp_path / "sweep")
        assert (done["status"], done["perplexity"]) == ("done", "200.0")
        assert (failed["status"], failed["reason"]) == ("failed", "the corpus is gone")
        assert "2 of 2 jobs" in capsys.readouterr().out
        (experiment / "mine.yaml").write_text(
            "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {optimizer.lr: '0,1'}}}\n"
        )
        with pytest.raises(ConfigError, match=r"optimizer\.lr"):
            run("train", ["--config-dir", "configs", "experiment=mine"], scoring_job)

    def test_job_with_an_infinite_perplexity_failed(self, tmp_path: Path) -> None:
        with pytest.raises(LstmLmError, match="1 of 2 jobs failed"):
            run("train", ["-m", "seed=17,1", "hydra.sweep.dir=sweep"], scoring_job)
        rows = {row["overrides"]: row for row in table(tmp_path / "sweep")}
        assert rows["seed=17"]["status"] == "failed"
        assert rows["seed=17"]["reason"] == "the perplexity is not finite"

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
        (result,) = collect_jobs(tmp_path / "sweep", {})
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
