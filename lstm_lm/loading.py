"""Load a trained model, however it is named."""

import zipfile
from pathlib import Path

from lstm_lm.bundle import BUNDLE_FILES, MANIFEST, read_bundle
from lstm_lm.checkpoint import BEST, CHECKPOINTS, LAST, read_checkpoint
from lstm_lm.errors import BundleError, CheckpointError, CheckpointMissingError
from lstm_lm.hub import download, is_hub_address
from lstm_lm.pretrained import PRETRAINED
from lstm_lm.saved_model import SavedModel


def load_model(path: str | Path = PRETRAINED) -> SavedModel:
    """Load the model of a bundle, a checkpoint or a run folder, as ``checkpoint=`` and ``--model`` name it.

    ``load_model()`` is the model that ships with the package: everyday English for a keyboard.

    A bundle is read without torch; its ``engine`` and a checkpoint's ``network`` import it where they need it.

    Args:
        path: A bundle, a checkpoint, a run folder or its ``checkpoints`` folder. Of a run it is ``best.ckpt``, or
            ``last.ckpt`` for a run that was stopped before its first validation. ``hf://USER/NAME@REVISION`` is a
            bundle on the Hugging Face hub.

    Raises:
        CheckpointMissingError: If nothing exists there.
        BundleError: If it is a file of a bundle or an archive, if the bundle is damaged, or the hub does not have it.
        CheckpointError: If it is a folder without a model, or if the checkpoint cannot be read.
    """
    found = download(path) if is_hub_address(path) else _find(Path(path))
    return read_bundle(found) if found.is_dir() else read_checkpoint(found)


def _find(path: Path) -> Path:
    """The bundle (a folder) or the checkpoint (a file) at ``path``."""
    if not path.exists():
        raise CheckpointMissingError(path)
    if path.is_file():
        _refuse_parts_and_archives(path)
        return path
    if (path / MANIFEST).is_file():
        return path
    for folder in (path / CHECKPOINTS, path):
        for name in (BEST, LAST):
            if (folder / name).is_file():
                return folder / name
    if (path / ".hydra").is_dir() or (path / CHECKPOINTS).is_dir():
        raise CheckpointError(f"{path}: is a run folder without a checkpoint; the run was stopped before it saved one")
    raise BundleError(
        f"{path}: has no {MANIFEST} and no {CHECKPOINTS}/{BEST}; give a bundle, a run folder or a checkpoint "
        "(lstm-lm export makes a bundle from a checkpoint)"
    )


def _refuse_parts_and_archives(path: Path) -> None:
    if path.name in BUNDLE_FILES and (path.parent / MANIFEST).is_file():
        raise BundleError(f"{path}: is one file of a bundle; give the folder, {path.parent}")
    if path.suffix == ".zip" or path.name.endswith((".tar", ".tar.gz", ".tgz")):
        holds_bundle = zipfile.is_zipfile(path) and any(
            name.rpartition("/")[2] == MANIFEST for name in zipfile.ZipFile(path).namelist()
        )
        what = "a bundle in an archive" if holds_bundle else "an archive"
        raise BundleError(f"{path}: is {what}; unpack it and give the folder")
