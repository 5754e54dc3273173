"""The service's tests with the lowest versions that pyproject.toml allows."""

import subprocess
from pathlib import Path

from campaigns.outcome import Outcome, Progress
from campaigns.project import Project


def test_lowest_versions(project: Project, progress: Progress) -> Outcome:  # noqa: ARG001
    """Run `scripts/test.sh --lowest`, which needs the package index once."""
    outcome = Outcome("lowest versions", 1, progress)
    script = Path(__file__).resolve().parent.parent / "test.sh"
    done = subprocess.run(["bash", script, "--lowest"], capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [""])[-1].strip("= ")
    if done.returncode:
        outcome.fail(f"{last}\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
    else:
        outcome.record(f"all tests of the service: {last}")
    return outcome
