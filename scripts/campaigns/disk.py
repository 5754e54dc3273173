"""A disk that is full while a run writes a checkpoint, a corpus or a bundle.

Two ways, both without privileges: a limit on the size of a file (``RLIMIT_FSIZE``), and, where the system allows user
namespaces, a full tmpfs.
"""

import shutil
import signal
import subprocess
from pathlib import Path

from helpers.real_commands import lstm_lm
from helpers.same_runs import difference

from campaigns.outcome import Outcome, Progress
from campaigns.project import SETTINGS, Fault, Project

_IN_TMPFS = """
mount -t tmpfs -o size="$1" tmpfs "$2" && cp -a "$3/." "$2" && cd "$4" && shift 4
"$@"; status=$?
"""


def fill_disk(project: Project, progress: Progress) -> Outcome:
    """Writes fail; afterwards nothing is half-written, and the same command succeeds with space."""
    times = 1 if project.quick else 5
    has_tmpfs = _has_namespaces()
    outcome = Outcome("full disk", times * (4 if has_tmpfs else 3), progress)
    stopped = _stopped_run(project)
    size = (stopped / "checkpoints" / "last.ckpt").stat().st_size
    for _ in range(times):
        run = project.copy(stopped, "full")
        command = project.train("full", fault=Fault(project.rng.randrange(20_000, size)))
        _check_checkpoint(outcome, project, run, command.wait(), command.output, "checkpoint")
        _fill_cache(outcome, project)
        _fill_bundle(outcome, project)
        if has_tmpfs:
            _fill_tmpfs(outcome, project, stopped, size)
    return outcome


def _stopped_run(project: Project) -> Path:
    """A run that was stopped soon after its first checkpoint."""
    command = project.train("before")
    last = project.folder / "before" / "checkpoints" / "last.ckpt"
    while not last.is_file() and command.process.exitcode is None:
        command.process.join(0.01)
    command.kill(signal.SIGTERM)
    assert command.wait() == 128 + signal.SIGTERM, command.output
    return project.folder / "before"


def _check_checkpoint(outcome: Outcome, project: Project, run: Path, status: int, output: str, what: str) -> None:
    before = _contents(project.folder / "before" / "checkpoints")
    after = _contents(run / "checkpoints")
    if status != 1 or "cannot write the checkpoint" not in output or "Traceback" in output:
        outcome.fail(f"{what}: exit status {status}: {output[-500:]}")
    elif after != before:
        outcome.fail(f"{what}: the earlier checkpoints are not intact, or there are others: {sorted(after)}")
    else:
        command = project.train(run.name)
        if command.wait() or (problem := difference(project.whole(), run)):
            outcome.fail(f"{what}: with space, the run has {problem if not command.wait() else command.output}")
        else:
            outcome.record(f"{what}: error, earlier one intact, resumed bit-equal")


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _fill_cache(outcome: Outcome, project: Project) -> None:
    cache = project.folder / "full-cache"
    shutil.rmtree(cache, ignore_errors=True)
    arguments = ("data", "data=text_files", "data.dir=corpus", f"data.cache_dir={cache}")
    command = project.start(*arguments, fault=Fault(project.rng.randrange(1_000, 20_000)))
    status, output = command.wait(), command.output
    left = [file.name for file in cache.iterdir()] if cache.is_dir() else []
    if status != 1 or "cannot write a cache entry" not in output or left:
        outcome.fail(f"corpus: exit status {status}, {left} left: {output[-500:]}")
    elif project.start(*arguments).wait():
        outcome.fail("corpus: fails with space too")
    else:
        outcome.record("corpus: error, nothing half-written")


def _fill_bundle(outcome: Outcome, project: Project) -> None:
    best = project.whole() / "checkpoints" / "best.ckpt"
    arguments = ("export", f"checkpoint={best}", "out=exports/full", "hydra.run.dir=exporting")
    shutil.rmtree(project.folder / "exports", ignore_errors=True)
    command = project.start(*arguments, fault=Fault(project.rng.randrange(1_000, 300_000)))
    status, output = command.wait(), command.output
    exports = project.folder / "exports"
    left = [file.name for file in exports.iterdir()] if exports.is_dir() else []
    if status != 1 or "error: " not in output or "Traceback" in output or left:
        outcome.fail(f"bundle: exit status {status}, {left} left: {output[-500:]}")
    elif project.start(*arguments).wait():
        outcome.fail("bundle: fails with space too")
    else:
        outcome.record("bundle: error, nothing half-written")


def _has_namespaces() -> bool:
    """Whether this user may mount a tmpfs in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _fill_tmpfs(outcome: Outcome, project: Project, stopped: Path, checkpoint_bytes: int) -> None:
    """Resume in a tmpfs with less space than a second checkpoint needs."""
    run = project.folder / "tmpfs"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    kept = project.folder / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    space = checkpoint_bytes + project.rng.randrange(100_000, checkpoint_bytes)
    script = f'{_IN_TMPFS} cp -a "{run}" "{kept}"; exit $status'
    train = lstm_lm("train", *SETTINGS, f"hydra.run.dir={run}", "resume=auto")
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", str(space), run, stopped, project.folder, *train]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    _check_checkpoint(outcome, project, kept, done.returncode, done.stdout + done.stderr, "checkpoint in a full tmpfs")
