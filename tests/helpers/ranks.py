"""Training runs of several processes. A server that has imported torch forks them, so that each starts in no time."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from helpers.service_process import free_port
from helpers.waiting import DEADLINE
from lstm_lm.errors import LstmLmError
from lstm_lm.training.config import TrainConfig
from lstm_lm.training.run import train

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["lstm_lm.training.run"])


class KillAt(L.Callback):
    """SIGKILL at the start of a step, in one process."""

    def __init__(self, step: int, rank: int) -> None:
        self.step, self.rank = step, rank

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if (trainer.global_step, trainer.global_rank) == (self.step, self.rank):
            os.kill(os.getpid(), signal.SIGKILL)


def _run(config: TrainConfig, run_dir: Path, variables: Mapping[str, str], callbacks: Sequence[L.Callback]) -> None:
    os.environ.update(variables)
    torch.set_num_threads(1)  # several threads that spin at barriers are slow beside other processes
    with (run_dir.parent / f"{run_dir.name}-{variables['NODE_RANK']}.log").open("w") as log:
        sys.stderr = log
        try:
            train(config, run_dir, callbacks=callbacks)
        except LstmLmError as error:
            print(error, file=log)
            sys.exit(1)


def train_on(
    configs: TrainConfig | Sequence[TrainConfig | None],
    run_dir: Path,
    callbacks: Sequence[L.Callback] = (),
    num_ranks: int = 2,
) -> tuple[list[int], list[str]]:
    """Train with one process on each of several machines, which are this one.

    Args:
        configs: One config of all ranks, or one for each; ``None`` for a rank that is never started.
        run_dir: The run folder that they share.
        callbacks: Of each rank.
        num_ranks: Number of processes.

    Returns:
        Exit status and error output of each rank that is started.
    """
    ranks = [configs] * num_ranks if isinstance(configs, TrainConfig) else configs
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    processes = {}
    for rank, config in enumerate(ranks):
        if config is None:
            continue
        if num_ranks > 1:
            config = replace(config, trainer=replace(config.trainer, num_nodes=num_ranks, strategy="ddp"))
        arguments = (config, run_dir, {**variables, "NODE_RANK": str(rank)}, callbacks)
        process = _FORKS.Process(target=_run, args=arguments)
        process.start()
        processes[rank] = process
    for rank, process in processes.items():
        process.join(DEADLINE)
        assert process.exitcode is not None, f"rank {rank} has not ended"
    logs = [run_dir.parent / f"{run_dir.name}-{rank}.log" for rank in processes]
    return [process.exitcode or 0 for process in processes.values()], [log.read_text() for log in logs]
