"""Single bits flipped in checkpoints, bundles and encoded corpora."""

import logging
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.same_runs import equal

from campaigns.outcome import Outcome, Progress
from campaigns.project import Project

NAMED, HARMLESS, MENDED = "named in an error", "harmless (all content equal)", "noticed and mended"


def num_flips(project: Project) -> int:
    """Number of flips in each kind of file."""
    return 10 if project.quick else 60


def flip_checkpoint(project: Project, progress: Progress) -> Outcome:
    """Flip bits of a checkpoint: half anywhere, half outside of the tensors."""
    from lstm_lm.checkpoint import read_checkpoint
    from lstm_lm.errors import CheckpointError

    outcome = Outcome("bit flip in a checkpoint", num_flips(project), progress)
    source = project.whole() / "checkpoints" / "best.ckpt"
    content, size = read_checkpoint(source).content, source.stat().st_size
    outside = _outside_tensors(source)
    damaged = project.folder / "damaged.ckpt"
    for number in range(outcome.planned):
        position = project.rng.choice(outside) if number % 2 else project.rng.randrange(size)
        _flip(source, damaged, position, project.rng)

        def check() -> str:
            return HARMLESS if equal(read_checkpoint(damaged).content, content) else ""

        _classify(outcome, check, CheckpointError, damaged, position)
    return outcome


def flip_bundle(project: Project, progress: Progress) -> Outcome:
    """Flip bits of a bundle, as often in its small files as in its large ones."""
    from lstm_lm.bundle import read_bundle
    from lstm_lm.errors import BundleError

    outcome = Outcome("bit flip in a bundle", num_flips(project), progress)
    best = project.whole() / "checkpoints" / "best.ckpt"
    command = project.start("export", f"checkpoint={best}", "out=bundle", "hydra.run.dir=export")
    assert command.wait() == 0, command.output
    original = read_bundle(project.folder / "bundle")
    expected = original.engine().predict("the old", 5)
    names = sorted(file.name for file in original.path.iterdir())
    for number in range(outcome.planned):
        damaged = project.copy(original.path, "damaged")
        file = damaged / names[number % len(names)]
        position = project.rng.randrange(file.stat().st_size)
        _flip(file, file, position, project.rng)

        def check(damaged: Path = damaged) -> str:
            bundle = read_bundle(damaged)
            same = (bundle.metadata, bundle.vocabulary) == (original.metadata, original.vocabulary)
            return HARMLESS if same and bundle.engine().predict("the old", 5) == expected else ""

        _classify(outcome, check, BundleError, damaged, f"{file.name} {position}")
    return outcome


def flip_cache(project: Project, progress: Progress) -> Outcome:
    """Flip bits of an encoded corpus: the next command encodes it again."""
    from lstm_lm.data.config import DataConfig
    from lstm_lm.data.encoding import EncodedCorpus, load_corpus
    from lstm_lm.errors import DataError

    outcome = Outcome("bit flip in an encoded corpus", num_flips(project), progress)
    cache = project.folder / "cache"
    config = DataConfig(source="text_files", dir=str(project.folder / "corpus"), cache_dir=str(cache))
    loaded = load_corpus(config)
    splits = {name: np.array(ids) for name, ids in loaded.splits.items()}

    def same(corpus: EncodedCorpus) -> bool:
        return corpus.vocabulary == loaded.vocabulary and all(
            np.array_equal(ids, splits[name]) for name, ids in corpus.splits.items()
        )

    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lstm_lm.data.cache")
    logger.addHandler(handler)
    logger.propagate = False
    (entry,) = (folder for folder in cache.iterdir() if not folder.name.startswith("."))
    names = sorted(file.name for file in entry.iterdir() if file.stat().st_size)
    for number in range(outcome.planned):
        file = entry / names[number % len(names)]
        position = project.rng.randrange(file.stat().st_size)
        _flip(file, file, position, project.rng)
        messages.clear()

        def check() -> str:
            if not same(load_corpus(config)):
                return ""
            return MENDED if any(str(entry) in message for message in messages) else HARMLESS

        _classify(outcome, check, DataError, entry, f"{file.name} {position}")
    return outcome


def _outside_tensors(path: Path) -> list[int]:
    """The bytes of a checkpoint that are not in a tensor: pickle, names, sizes, checksums, padding."""
    tensors = []
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if "/data/" in entry.filename:
                # a local header: 30 bytes, the name and the extra field
                with path.open("rb") as file:
                    file.seek(entry.header_offset + 26)
                    name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
                start = entry.header_offset + 30 + name + extra
                tensors.append((start, start + entry.file_size))
    outside, position = [], 0
    for start, end in [*sorted(tensors), (path.stat().st_size, 0)]:
        outside += range(position, start)
        position = end
    return outside


def _flip(source: Path, target: Path, position: int, rng: random.Random) -> None:
    content = bytearray(source.read_bytes())
    content[position] ^= 1 << rng.randrange(8)
    target.write_bytes(content)


def _classify(outcome: Outcome, check: Callable[[], str], expected: type[Exception], path: Path, where: Any) -> None:
    """Count one flip.

    Args:
        outcome: Counts it.
        check: Reads the damaged file; returns how the trial ended, "" if something differs silently.
        expected: Type of the error that names the damage.
        path: Must occur in the error.
        where: The damaged byte, for a failure.
    """
    try:
        ending = check()
    except expected as error:
        ending = NAMED if str(path) in str(error) else ""
        where = f"{where}: {error}"
    except Exception as error:
        ending, where = "", f"{where}: {type(error).__name__}: {error}"
    if ending:
        outcome.record(ending)
    else:
        outcome.fail(f"byte {where}")
