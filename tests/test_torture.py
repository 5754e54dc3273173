"""The short form of scripts/torture.py: every campaign finds what docs/reliability.md states."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "torture.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_short_form_finds_no_fault(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--quick", "--seed", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    for ending in ("after a kill in a write", "after a signal in a validation", "second run refused", "half-closed"):
        assert ending in done.stdout
