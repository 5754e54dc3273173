"""The short form of scripts/torture.py: its campaigns find what docs/reliability.md states."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "torture.py"


@pytest.mark.slow
@pytest.mark.longest
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="CPU time and memory are read from /proc")
@pytest.mark.parametrize(
    ("campaigns", "endings"),
    [
        # the campaigns of a command share the modules that it imports and an uninterrupted run
        (("kill", "sigterm"), ("after a kill in a write", "after a signal in a validation")),
        (
            ("folder", "disk", "checkpoint", "bundle", "cache"),
            ("second run refused", "nothing half-written", "named in an error", "noticed and mended"),
        ),
        (("connections",), ("half-closed",)),
    ],
    ids=["kills and signals", "folders, disks and damaged files", "connections"],
)
def test_short_form_finds_no_fault(campaigns: tuple[str, ...], endings: tuple[str, ...], tmp_path: Path) -> None:
    only = [part for name in campaigns for part in ("--only", name)]
    command = [sys.executable, SCRIPT, "--quick", "--seed", "1", *only]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    for ending in endings:
        assert ending in " ".join(done.stdout.split())
