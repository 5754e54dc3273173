"""A sweeper plugin of Hydra: it chooses the jobs from what the jobs before have returned."""

import csv
import os
import subprocess
from pathlib import Path

import pytest
from helpers import preloaded
from helpers.real_commands import write_corpus

PLUGIN = '''
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


class Bisection(Sweeper):
    """Halves one interval towards the better end."""

    def __init__(self, steps, params):
        self.steps = steps

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        overrides = OverridesParser.create().parse_overrides(arguments)
        fixed = [o.input_line for o in overrides if not o.is_interval_sweep()]
        (swept,) = [o for o in overrides if o.is_interval_sweep()]
        if self.steps < 0:
            raise ValueError("steps must be positive")
        ends = [swept.value().start, swept.value().end]
        results = self.launcher.launch([[*fixed, f"{swept.key_or_group}={end}"] for end in ends], initial_job_idx=0)
        scores = [result.return_value for result in results]
        for step in range(self.steps):
            middle = sum(ends) / 2
            (result,) = self.launcher.launch([[*fixed, f"{swept.key_or_group}={middle}"]], initial_job_idx=2 + step)
            worse = scores.index(max(scores))
            ends[worse], scores[worse] = middle, result.return_value


node = {"_target_": "hydra_plugins.bisection.Bisection", "steps": 2, "params": None}
ConfigStore.instance().store(group="hydra/sweeper", name="bisection", node=node, provider="bisection")
'''


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    write_corpus(folder / "corpus")
    (folder / "plugins" / "hydra_plugins").mkdir(parents=True)
    (folder / "plugins" / "hydra_plugins" / "bisection.py").write_text(PLUGIN)
    overrides = ["data=text_files", "data.dir=corpus", "model=tiny", "callbacks=quiet", "logger=none"]
    return subprocess.run(
        preloaded.command("train", "-m", "hydra/sweeper=bisection", "hydra.sweep.dir=sweep", *overrides, *arguments),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "plugins"), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_sweeper_minimizes_the_perplexity_that_jobs_return(tmp_path: Path) -> None:
    # the second end trains nothing: the sweeper moves towards the first
    done = sweep(tmp_path, "trainer.max_steps=10", "optimizer.lr=interval(0.01,1e-9)")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "sweep" / "sweep.csv").open(newline="") as file:
        lines = [row["overrides"] for row in csv.DictReader(file)]
    rates = sorted(float(line.rpartition("optimizer.lr=")[2].split()[0]) for line in lines)
    assert rates == pytest.approx([1e-9, 0.005, 0.0075, 0.01], abs=1e-8)


def test_an_error_of_the_sweeper_is_shown_as_its_own(tmp_path: Path) -> None:
    done = sweep(tmp_path, "optimizer.lr=interval(0.01,1e-9)", "hydra.sweeper.steps=-1")
    assert done.returncode == 1
    assert "the sweeper hydra_plugins.bisection.Bisection failed" in done.stderr
    assert "ValueError: steps must be positive" in done.stderr
    assert "configuration has a problem" not in done.stderr
    assert "Traceback" not in done.stderr
