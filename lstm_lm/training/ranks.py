"""Ranks of a distributed run, from the variables that launchers set. Imports little: commands use it before torch."""

import os

from lstm_lm.errors import ConfigError

# torchrun, Lightning and SLURM number the processes of a machine, or all of them
_RANKS = ("LOCAL_RANK", "RANK", "SLURM_PROCID")
# set by launchers that start every process themselves
_LAUNCHERS = ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "LSB_JOBID")


def is_rank_zero() -> bool:
    """Whether this process prints and owns the run folder: the only process, or rank 0 of a distributed run."""
    names = (*_RANKS, "NODE_RANK") if "MASTER_ADDR" in os.environ else _RANKS
    return all(os.environ.get(name, "0") == "0" for name in names)


def check_launch(devices: int, num_nodes: int) -> None:
    """Compare the processes of a config with those that a launcher has started.

    Without this, each process of torchrun would train alone, or wait for others that never start.

    Raises:
        ConfigError: If they differ, or if nothing says where the processes of several machines meet.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        started, per_node = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if (devices, num_nodes * devices) != (per_node, started):
            raise ConfigError(
                [
                    f"trainer.devices: torchrun started {started} processes, {per_node} on this machine (got "
                    f"trainer.devices={devices} trainer.num_nodes={num_nodes}); set trainer=ddp "
                    f"trainer.devices={per_node} trainer.num_nodes={started // per_node}"
                ]
            )
    elif num_nodes > 1 and not any(name in os.environ for name in _LAUNCHERS):
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
        if missing:
            raise ConfigError(
                [
                    f"trainer.num_nodes: the processes of {num_nodes} machines do not know where to meet; start them "
                    f"with torchrun, or set {', '.join(missing)} in the environment of each"
                ]
            )
