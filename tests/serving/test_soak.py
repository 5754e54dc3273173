"""The mixed load of scripts/soak_serving.py for a short time, with the service in its own process."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.waiting import DEADLINE

SCRIPT = Path(__file__).parents[2] / "scripts" / "soak_serving.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_mixed_load_finds_no_fault_and_memory_stays_the_same(tiny_bundle: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--model", str(tiny_bundle), "--seconds", "15", "--max-growth-mb", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=2 * DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "aborted streams" in done.stdout
