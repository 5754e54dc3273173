"""Settings of the process that have to be there before torch is loaded."""

import os
import platform
import sys

# set once the process runs with the settings below; set it yourself to keep your environment untouched
GUARD = "LSTM_LM_ENVIRONMENT"

# oneDNN's LSTM meets at a barrier many times a step. A thread that sleeps there at once wakes up late (412 ms for
# forward and backward of 400 -> 640 units against 270), one that spins for long takes the core from whoever works
# (1,000 ms beside a busy process against 710): so threads spin for about a tenth of a millisecond, then sleep
OPENMP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}

# a training step frees and takes buffers of hundreds of MB: keep them, in huge pages, instead of mapping them anew
GLIBC = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def configure_process() -> None:
    """Make torch fast on a CPU: OpenMP's waiting and glibc's allocator, as far as the user has not set them.

    OpenMP reads its variables when torch is loaded; glibc reads its own when the process starts, so on Linux with
    glibc the process is started again in place, once, with the same arguments.
    """
    if GUARD in os.environ or "torch" in sys.modules:
        return
    if not any(name in os.environ for name in OPENMP):  # half of a user's choice would be neither's
        os.environ |= OPENMP
    os.environ[GUARD] = "1"
    if platform.libc_ver()[0] == "glibc" and not all(name in os.environ for name in GLIBC):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**GLIBC, **os.environ})


def effective_settings() -> list[tuple[str, str]]:
    """What ``--verbose`` shows: the settings above as this process has them, and what torch makes of the machine."""
    import torch

    from lstm_lm.training.precision import bf16_is_faster, product_seconds

    processor = torch.device("cpu")
    milliseconds = {name: f"{1000 * seconds:.1f} ms" for name, seconds in product_seconds(processor).items()}
    choice = "bf16" if bf16_is_faster(processor) else "fp32"
    return [
        *((name, os.environ.get(name, "not set")) for name in (*OPENMP, *GLIBC)),
        ("threads, cores", f"{torch.get_num_threads()}, {os.cpu_count()}"),
        ("torch, its CPU kernels", f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"),
        ("a matrix product", ", ".join(f"{name} {taken}" for name, taken in milliseconds.items())),
        ("trainer.precision=auto", f"{choice} (evaluation is always fp32)"),
    ]
