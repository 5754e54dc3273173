"""Sweeps on a cluster with submitit: a job that reaches its time limit saves, is queued again, and continues."""

import json
from pathlib import Path

import pytest
from helpers.preloaded import run
from helpers.real_commands import write_corpus
from omegaconf import OmegaConf

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.config.validation import check

submitit = pytest.importorskip("submitit")

DEPLOY = Path(__file__).parents[2] / "scripts" / "deploy" / "slurm"
TIME_LIMIT = '''
import os, signal
import lightning as L

class TimeLimit(L.Callback):
    """What SLURM sends before the time limit, in the first attempt."""

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 5 and trainer.ckpt_path is None:
            os.kill(os.getpid(), signal.SIGUSR2)
'''


@pytest.mark.slow
def test_a_job_at_its_time_limit_is_queued_again_and_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "corpus")
    (tmp_path / "limits.py").write_text(TIME_LIMIT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = ["data=text_files", "data.dir=corpus", "model=tiny", "trainer.max_steps=12", "callbacks=quiet"]
    settings += ["logger=none", "+callbacks.limit._target_=limits.TimeLimit", "hydra.sweep.dir=sweep"]
    done = run("train", "-m", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=30", *settings, cwd=tmp_path)
    assert "1 of 1 jobs" in done.stdout
    job = tmp_path / "sweep" / "0"
    assert json.loads((job / "job.json").read_text())["status"] == "done"
    assert json.loads((job / "metrics.json").read_text())["steps"] == 12
    log = (job / "train.log").read_text()
    assert log.count("run folder") == 2, "two attempts"
    assert "SIGUSR2: saving and stopping after this step" in log
    (output,) = (tmp_path / "sweep" / ".submitit").rglob("*_log.err")
    assert "this job is preempted" in output.read_text()
    assert read_checkpoint(job / "checkpoints" / "last.ckpt").content["global_step"] == 12


def test_the_example_asks_slurm_for_a_signal_and_for_requeueing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check("train", ["hydra/launcher=slurm", "seed=1,2"], multirun=True, config_dir=str(DEPLOY))
    srun = tmp_path / "srun"
    srun.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    node = OmegaConf.to_container(OmegaConf.load(DEPLOY / "hydra" / "launcher" / "slurm.yaml"))
    assert isinstance(node, dict)
    assert node.pop("defaults") == ["submitit_slurm"]
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm", slurm_max_num_timeout=node.pop("max_num_timeout"))
    common = ("timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "mem_gb")
    executor.update_parameters(**{name if name in common else f"slurm_{name}": node[name] for name in node})
    script = executor._executor._make_submission_file_text("command", "id").splitlines()
    for line in ("--time=60", "--signal=USR2@120", "--requeue", "--open-mode=append", "--ntasks-per-node=1"):
        assert f"#SBATCH {line}" in script
