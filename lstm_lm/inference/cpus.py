"""How many CPUs this process may use."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """The number of CPUs that the process may use: its affinity, and the quota of its container.

    Args:
        cgroup: The file with quota and period in microseconds, as in cgroup v2; it may be missing.
    """
    # macOS has no affinity
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cgroup.read_text().split()
        return max(1, min(cpus, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or "max": no quota
        return cpus
