"""Repeated sweeps: which jobs still have to run, and the folder of each."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import basic_sweeper

from lstm_lm.cli.sweep import STATUS_FILE
from lstm_lm.config.overrides import as_override

_JOB_NUMBER = "${hydra.job.num}"


class SweepPlan:
    """Selects the jobs of a sweep that still have to run, and reuses the folders of earlier attempts.

    A job is identified by its overrides in any order, because its number changes when values are added.

    Args:
        folder: The folder of the sweep.
        subdir: The folder of a job inside it, before interpolation.
        skip_done: Skip the jobs that are done; otherwise they run again in their own folders.

    Attributes:
        skipped: Folders of the skipped jobs.
    """

    def __init__(self, folder: Path, subdir: str, skip_done: bool) -> None:
        self.folder = folder
        self.subdir = subdir
        self.skip_done = skip_done
        self.skipped: list[Path] = []

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Patch Hydra's basic sweeper to skip jobs; new sweeps and other sweepers are unchanged."""
        if not self._known_jobs():
            yield
            return
        sweeper = basic_sweeper.BasicSweeper  # not imported by name: Hydra's search for plugins replaces the class
        all_jobs = sweeper.split_arguments

        def remaining_jobs(overrides: list[Any], max_batch_size: int | None) -> list[list[list[str]]]:
            jobs = self.remaining([job for batch in all_jobs(overrides, None) for job in batch])
            return [list(batch) for batch in sweeper.split_overrides_to_chunks(jobs, max_batch_size)] if jobs else []

        sweeper.split_arguments = staticmethod(remaining_jobs)  # type: ignore[method-assign]
        try:
            yield
        finally:
            sweeper.split_arguments = staticmethod(all_jobs)  # type: ignore[method-assign]

    def remaining(self, jobs: list[list[str]]) -> list[list[str]]:
        """The jobs that are left, each with its folder as an additional override."""
        known = self._known_jobs()
        taken = {name for name, _ in known.values()}
        left = []
        for number, job in enumerate(jobs):
            name, status = known.get(_identity(job), ("", ""))
            if status == "done" and self.skip_done:
                self.skipped.append(self.folder / name)
                continue
            if not name:
                name = self._free_name(number, taken)
                taken.add(name)
            left.append([*job, as_override("hydra.sweep.subdir", name)])
        return left

    def _free_name(self, number: int, taken: set[str]) -> str:
        name = self.subdir.replace(_JOB_NUMBER, str(number))
        if _JOB_NUMBER not in self.subdir:
            return name
        numbers = iter(range(len(taken) + 1))
        while name in taken or (self.folder / name).exists():
            name = self.subdir.replace(_JOB_NUMBER, str(next(numbers)))
        return name

    def _known_jobs(self) -> dict[frozenset[str], tuple[str, str]]:
        """Folder and status of each job that an earlier run of the sweep started."""
        known = {}
        for file in sorted(self.folder.rglob(STATUS_FILE)):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                known[_identity(content["overrides"])] = (str(file.parent.relative_to(self.folder)), content["status"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return known


def _identity(overrides: list[str]) -> frozenset[str]:
    return frozenset(line for line in overrides if not line.startswith(("hydra.", "hydra/")))
