"""Process settings that must be in place before torch is loaded."""

import os
import platform
import sys

from lstm_lm.errors import closest
from lstm_lm.settings import CACHE, CELLS, GUARD

# oneDNN's LSTM waits at a barrier many times per step. Threads that sleep immediately wake up late (412 ms for forward
# and backward of 400 -> 640 units, instead of 270); threads that spin for long take the core from other processes
# (1,000 ms with another busy process, instead of 710). So threads spin for about 0.1 ms, then sleep.
OPENMP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}

# a training step frees and allocates hundreds of MB: keep the memory, in huge pages, instead of mapping it again
GLIBC = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}

_VARIABLES = (CACHE, CELLS, GUARD)


def misspelt_variables() -> list[str]:
    """A line for each variable whose name is almost one of ours; the service checks its own."""
    names = [name for name in sorted(os.environ) if name.startswith("LSTM_LM_") and name not in _VARIABLES]
    matches = {name: closest(name, _VARIABLES, cutoff=0.8) for name in names}
    return [f"{name}: is not used; did you mean {match}?" for name, match in matches.items() if match]


def configure_process() -> None:
    """Tune OpenMP's wait policy and glibc's allocator for torch on a CPU; variables that the user set are kept.

    OpenMP reads its variables when torch is loaded. glibc reads its own when the process starts, so with glibc the
    process replaces itself once (``execve``) with the same arguments.
    """
    if GUARD in os.environ or "torch" in sys.modules:
        return
    os.environ.setdefault("OMP_WAIT_POLICY", OPENMP["OMP_WAIT_POLICY"])
    # beside the policy "active", a spin count would override it
    if os.environ["OMP_WAIT_POLICY"].strip().lower() == "passive":
        os.environ.setdefault("GOMP_SPINCOUNT", OPENMP["GOMP_SPINCOUNT"])
    os.environ[GUARD] = "1"
    if platform.libc_ver()[0] == "glibc" and not all(name in os.environ for name in GLIBC):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**GLIBC, **os.environ})


def effective_settings() -> list[tuple[str, str]]:
    """The output of ``--verbose``: the settings above as this process has them, and torch's view of the machine."""
    import torch

    return [
        *((name, os.environ.get(name, "not set")) for name in (*OPENMP, *GLIBC)),
        ("threads, cores", f"{torch.get_num_threads()}, {os.cpu_count()}"),
        ("torch, CPU kernels", f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"),
    ]
