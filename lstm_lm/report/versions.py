"""What a score depends on besides its settings."""

import importlib.metadata
import platform
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of the packages that a score depends on, and the processor."""
    packages = ("torch", "lightning", "numpy", "lstm-lm")
    return {
        **{name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()
