"""What a score depends on besides its settings."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path


def versions() -> dict[str, str]:
    """Versions of the packages that a score depends on, the commit of a checkout of this project, and the processor."""
    packages = ("torch", "lightning", "numpy", "lstm-lm")
    return {
        **{name: importlib.metadata.version(name) for name in packages},
        **({} if (commit := _commit()) is None else {"commit": commit}),
        "python": platform.python_version(),
        "processor": _processor(),
    }


def _commit() -> str | None:
    """Commit of the checkout that the package runs from, ``-dirty`` if files differ; ``None`` if it is installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()
