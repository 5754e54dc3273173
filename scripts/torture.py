"""What must not be lost or silently wrong, tried for real: `python scripts/torture.py`.

Runs are killed and resumed, files damaged, disks filled, connections abused. Each trial must end in one of the ways
that docs/reliability.md states; the exit status is 1 if one does not. All traffic stays on the loopback interface.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the helpers of the tests

from campaigns import connections, disk, flips, interrupts, lowest  # noqa: E402
from campaigns.outcome import Outcome, Progress  # noqa: E402
from campaigns.project import Project  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from lstm_lm.cli.environment import OPENMP  # noqa: E402
from lstm_lm.settings import GUARD  # noqa: E402

Campaign = Callable[[Project, Progress], Outcome]
CAMPAIGNS: dict[str, Campaign] = {
    "kill": interrupts.kill,
    "sigterm": interrupts.terminate,
    "folder": interrupts.share_folder,
    "checkpoint": flips.flip_checkpoint,
    "bundle": flips.flip_bundle,
    "cache": flips.flip_cache,
    "disk": disk.fill_disk,
    "connections": connections.abuse_connections,
    "lowest": lowest.test_lowest_versions,
}
NOT_BY_DEFAULT = ("lowest",)
"""It installs packages."""


def main() -> None:
    """Run the campaigns and print a table; exit with 1 if one found a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CAMPAIGNS, help="run this campaign; may be repeated")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: random")
    parser.add_argument("--quick", action="store_true", help="few trials of each kind, in about a minute")
    args = parser.parse_args()
    # one thread per process: the sums of several depend on their number
    os.environ |= {**OPENMP, GUARD: "1", "OMP_NUM_THREADS": "1"}
    multiprocessing.set_forkserver_preload(["lstm_lm.cli.train", "lstm_lm.training.run", "lstm_lm.cli.hydra_run"])
    console = Console(width=max(Console().width, 110))
    console.print(f"seed {args.seed}")
    table = Table("campaign", "trials", "outcome", "seconds")
    failures = []
    with tempfile.TemporaryDirectory() as folder, console.status("starting") as status:
        project = Project(Path(folder), args.quick)
        progress = status.update if console.is_terminal else console.print
        os.environ["LSTM_LM_CACHE"] = str(Path(folder) / "corpus-cache")
        for name in args.only or [name for name in CAMPAIGNS if name not in NOT_BY_DEFAULT]:
            begin = time.monotonic()
            project.rng = random.Random(f"{args.seed} {name}")
            outcome = CAMPAIGNS[name](project, progress)
            failures += outcome.failures
            seconds = time.monotonic() - begin
            console.print(f"{outcome.name}: {'FAILED' if outcome.failures else 'passed'} in {seconds:.0f} s")
            table.add_row(outcome.name, str(outcome.planned), outcome.summary, f"{seconds:.0f}", end_section=True)
    console.print(table)
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
