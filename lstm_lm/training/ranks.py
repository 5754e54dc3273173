"""Ranks of a distributed run, from the variables that launchers set. Imports nothing: commands use it before torch."""

import os


def is_rank_zero() -> bool:
    """Whether this process prints and owns the run folder: the only process, or rank 0 of a distributed run."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "RANK", "SLURM_PROCID"))
