"""``lstm-lm train`` with several processes, as a user starts them: with torchrun on two machines, or by itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import preloaded
from helpers.real_commands import lstm_lm, write_corpus
from helpers.service_process import free_port
from helpers.waiting import DEADLINE, wait_until

from lstm_lm.checkpoint import read_checkpoint

SETTINGS = (
    "data=text_files",
    "data.dir=corpus",
    "model=tiny",
    "trainer=ddp",
    "trainer.accelerator=cpu",
    "batching.batch_size=4",
    "callbacks=quiet",
    "logger=tensorboard",
)
FILES = {".lock", "metrics.json", "report.html", "train.log", "valid_tokens.npz"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "corpus")
    return tmp_path


def start(command: list[str], folder: Path, name: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@pytest.mark.slow
def test_torchrun_on_two_machines_fills_one_run_folder(folder: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    torchrun += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    command = [*lstm_lm("train", *SETTINGS, "trainer.devices=1", "trainer.num_nodes=2", "trainer.max_steps=4")[1:]]
    processes = [start([*torchrun, "--node_rank", str(rank), *command], folder, str(rank)) for rank in range(2)]
    outputs = []
    for rank, process in enumerate(processes):
        status = process.wait(DEADLINE)
        outputs.append((folder / f"{rank}.log").read_text())
        assert status == 0, outputs[-1]
    assert "valid perplexity" in outputs[0]
    assert "valid perplexity" not in outputs[1], "rank 0 prints the summary"
    (run_dir,) = (folder / "outputs" / "train").glob("*/*")
    assert {path.name for path in run_dir.iterdir() if path.is_file()} == FILES
    assert len(list(run_dir.rglob("events.*"))) == 1


@pytest.mark.slow
def test_a_killed_process_of_one_machine_ends_the_run(folder: Path) -> None:
    settings = (
        *SETTINGS,
        "hydra.run.dir=run",
        "resume=auto",
        "trainer.val_check_interval=0.05",
        "trainer.limit_val_batches=2",
    )
    process = start(lstm_lm("train", *settings, "trainer.max_steps=100000"), folder, "out")
    last = folder / "run" / "checkpoints" / "last.ckpt"
    try:
        wait_until(lambda: last.is_file() or process.poll() is not None)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        (child,) = map(int, children.read_text().split())
        os.kill(child, signal.SIGKILL)
        assert process.wait(DEADLINE) == 1, (folder / "out.log").read_text()
    finally:
        process.kill()
        process.wait()
    output = (folder / "out.log").read_text()
    assert "error: rank 0 lost another process of this run" in output
    assert "Traceback" not in output
    step = read_checkpoint(last).content["global_step"]
    one = ("trainer.devices=1", "batching.batch_size=8")  # starts faster; tests/training resumes with two
    preloaded.run("train", *settings, *one, f"trainer.max_steps={step + 2}", cwd=folder)
    assert read_checkpoint(last).content["global_step"] == step + 2
    assert not list((folder / "run").glob("*process*"))
