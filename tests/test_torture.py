"""The short form of scripts/torture.py: its campaigns find what docs/reliability.md states.

Without the campaigns that interrupt a run at a random moment: what they find depends on the machine's speed.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "torture.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_short_form_finds_no_fault(tmp_path: Path) -> None:
    campaigns = ("folder", "checkpoint", "bundle", "cache", "disk", "connections")
    only = [part for name in campaigns for part in ("--only", name)]
    command = [sys.executable, SCRIPT, "--quick", "--seed", "1", *only]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    for ending in ("named in an error", "noticed and mended", "second run refused", "half-closed"):
        assert ending in done.stdout
