"""Ctrl-C in a sweep whose jobs run in worker processes."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.waiting import DEADLINE, wait_until

pytest.importorskip("hydra_plugins.hydra_joblib_launcher")

SWEEP = """
import os, sys, time
from pathlib import Path
from lstm_lm.cli.hydra_run import run
from lstm_lm.errors import TrainingInterruptedError

def job(config, folder):
    if config.seed == 1:
        (folder / "metrics.json").write_text('{"valid": {"perplexity": 9.0}}')
        return
    try:
        (folder / "started").touch()
        time.sleep(600)
    except SystemExit:
        time.sleep(2)  # the other workers must not be killed before this is saved
        (folder / "saved").touch()
        raise

line = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2,3,4", "hydra.sweep.dir=sweep"]
sys.exit(run("train", line, job))
"""


@pytest.mark.slow
@pytest.mark.parametrize("to_group", [True, False], ids=["terminal", "one process"])
def test_workers_save_before_the_sweep_ends(to_group: bool, tmp_path: Path) -> None:
    (tmp_path / "sweep.py").write_text(SWEEP)
    command = [sys.executable, "sweep.py"]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as process:
        try:
            wait_until(lambda: process.poll() is not None or len(list(tmp_path.glob("sweep/*/started"))) == 2)
            assert process.poll() is None
            os.killpg(process.pid, signal.SIGINT) if to_group else process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 128 + (signal.SIGINT if to_group else signal.SIGTERM)
        finally:
            process.kill()
    assert len(list(tmp_path.glob("sweep/*/saved"))) == 2
    with (tmp_path / "sweep" / "sweep.csv").open(newline="") as file:
        status = {row["overrides"]: row["status"] for row in csv.DictReader(file)}
    assert status.pop("seed=1") == "done"
    assert set(status.values()) == {"interrupted"}
