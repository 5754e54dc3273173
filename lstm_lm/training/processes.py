"""Processes that train together: how they start, that they agree, and that all end when one does."""

import os
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import lightning as L
import torch.distributed
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from typing_extensions import override

from lstm_lm.errors import TrainingError
from lstm_lm.training.budget import parse_duration

_PARENT = "LSTM_LM_PARENT_PROCESS"
_LAUNCH_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", _PARENT)
_WATCH_SECONDS = 1.0
# gloo fails at once when a connection closes; a process that still waits after this time is stuck in a collective
_GRACE_SECONDS = 15.0


class ProcessesStrategy(DDPStrategy):
    """Averages the gradients of several processes, each on its own streams, on one machine or several.

    Args:
        threads: CPU threads of each process; 0 divides the cores of a machine among its processes.
        timeout: How long a process waits for the others, a duration such as ``10m``.

    Attributes:
        settings: What all processes must have in common, plain data by name.
    """

    def __init__(self, threads: int, timeout: str) -> None:
        # the buffers are constants of the corpus, equal in all processes
        super().__init__(broadcast_buffers=False, timeout=timedelta(seconds=parse_duration(timeout)))
        self.settings: Mapping[str, Any] = {}
        self.threads = threads
        self.timeout = timeout

    @override
    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = ProcessLauncher(self.cluster_environment, self.num_processes, self.num_nodes)
        self._launcher.threads = self.threads

    @override
    def setup_environment(self) -> None:
        try:
            super().setup_environment()
        except torch.distributed.DistError as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise TrainingError(
                f"rank {self.global_rank} cannot join the other processes of this run ({reason}): start the command on "
                f"all machines; raise trainer.ddp_timeout={self.timeout} if some of them start later"
            ) from error
        first = self.broadcast(dict(self.settings))
        if differing := _differences(first, self.settings):
            raise TrainingError(
                f"rank {self.global_rank} differs from rank 0 in {'; '.join(differing)}: start all processes with the "
                "same command, corpus and run folder"
            )


def _differences(first: Mapping[str, Any], own: Mapping[str, Any], path: str = "") -> list[str]:
    lines = []
    for name in dict.fromkeys((*first, *own)):
        one, other = first.get(name), own.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            lines += _differences(one, other, f"{path}{name}.")
        elif one != other:
            lines.append(f"{path}{name} ({one} and {other})")
    return lines


class ProcessLauncher(_SubprocessScriptLauncher):
    """Starts the other processes of this machine, unless torchrun or a scheduler does, and ends with them.

    Lightning's own launcher kills the first process, without a message, when another one fails.
    """

    threads = 0

    @override
    def launch(self, function: Callable[..., Any], *args: Any, trainer: L.Trainer | None = None, **kwargs: Any) -> Any:
        """Run ``function`` in every process.

        Raises:
            TrainingError: If another process of the run ended.
        """
        environment = self.cluster_environment
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        before = dict(os.environ)
        if starts_processes := not environment.creates_processes_externally:
            os.environ[_PARENT] = str(os.getpid())
            self._call_children_scripts()
            del os.environ[_PARENT]
        if not self.threads:
            _set_num_threads_if_needed(num_processes=self.num_processes)
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), daemon=True, name="process-watch").start()
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            self._kill()
            if not _is_lost_connection(error):
                raise
            raise TrainingError(_message(environment.global_rank(), _reason(error))) from error
        except BaseException:
            self._kill()
            raise
        finally:
            ended.set()
            if starts_processes:  # so that this process can train again
                for name in _LAUNCH_VARIABLES:
                    os.environ.pop(name, None)
                os.environ.update({name: before[name] for name in _LAUNCH_VARIABLES if name in before})

    def _watch(self, ended: threading.Event) -> None:
        """End this process if another one of this machine has failed and this one waits for it forever.

        gloo notices a closed connection; NCCL on one machine may wait for half an hour.
        """
        while not ended.wait(_WATCH_SECONDS):
            reason = self._failed_process()
            if reason is None:
                continue
            if not ended.wait(_GRACE_SECONDS):
                self._kill()
                os._exit(1)

    def _failed_process(self) -> str | None:
        for local_rank, process in enumerate(self.procs, start=1):
            if code := process.poll():
                return f"local rank {local_rank} ended with exit status {code}"
        if os.environ.get(_PARENT) not in (None, str(os.getppid())):
            return "local rank 0 ended"
        return None

    def _kill(self) -> None:
        """Kill the processes that this one started: they write nothing, and may wait for this one."""
        for process in self.procs:
            process.kill()
        for process in self.procs:
            process.wait()


def _is_lost_connection(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _reason(error: RuntimeError) -> str:
    return str(error).partition("\n")[0].rpartition("] ")[2].partition(". ")[0][:200]


def _message(rank: int, reason: str) -> str:
    return (
        f"rank {rank} lost another process of this run ({reason}); the output of the process that ended first has the "
        "cause. Continue with resume=RUN, or with resume=auto and the same command"
    )
