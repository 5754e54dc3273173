"""The bundle or checkpoint that a path given as ``checkpoint=`` or ``--model`` means."""

import zipfile
from pathlib import Path

from lstm_lm.bundle import CARD, MANIFEST, VOCABULARY
from lstm_lm.errors import BundleError, CheckpointError, CheckpointMissingError
from lstm_lm.inference.loading import BACKEND_FILES

_CHECKPOINTS = ("best.ckpt", "last.ckpt")  # the first of them that exists
_BUNDLE_FILES = {MANIFEST, VOCABULARY, CARD, *BACKEND_FILES.values()}


def resolve_model_path(path: Path) -> Path:
    """The bundle (a folder) or the checkpoint (a file) at ``path``.

    Args:
        path: A bundle, a checkpoint, a run folder or its ``checkpoints`` folder; of a run it is ``best.ckpt``, or
            ``last.ckpt`` for a run that was stopped before its first validation.

    Raises:
        CheckpointMissingError: If nothing exists there.
        BundleError: If it is a file of a bundle, or an archive.
        CheckpointError: If it is a folder without a model.
    """
    if not path.exists():
        raise CheckpointMissingError(path)
    if path.is_file():
        _refuse_parts_and_archives(path)
        return path
    if (path / MANIFEST).is_file():
        return path
    for folder in (path / "checkpoints", path):
        for name in _CHECKPOINTS:
            if (folder / name).is_file():
                return folder / name
    if (path / ".hydra").is_dir() or (path / "checkpoints").is_dir():
        raise CheckpointError(f"{path}: is a run folder without a checkpoint; the run was stopped before it saved one")
    raise BundleError(
        f"{path}: has no {MANIFEST} and no checkpoints/best.ckpt; give a bundle, a run folder or a checkpoint "
        "(lstm-lm export makes a bundle from a checkpoint)"
    )


def _refuse_parts_and_archives(path: Path) -> None:
    if path.name in _BUNDLE_FILES and (path.parent / MANIFEST).is_file():
        raise BundleError(f"{path}: is one file of a bundle; give the folder, {path.parent}")
    if path.suffix == ".zip" or path.name.endswith((".tar", ".tar.gz", ".tgz")):
        holds_bundle = zipfile.is_zipfile(path) and any(
            name.rpartition("/")[2] == MANIFEST for name in zipfile.ZipFile(path).namelist()
        )
        what = "a bundle in an archive" if holds_bundle else "an archive"
        raise BundleError(f"{path}: is {what}; unpack it and give the folder")
