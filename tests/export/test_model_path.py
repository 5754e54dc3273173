"""``checkpoint=`` and ``--model`` take a bundle, a checkpoint or a run folder; everything else gets the remedy."""

import shutil
import zipfile
from pathlib import Path

import pytest
from helpers.small_models import write_small_bundle

from lstm_lm.errors import BundleError, CheckpointError, CheckpointMissingError
from lstm_lm.export.bundle_export import export_bundle
from lstm_lm.loading import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle ``mine``, and a run folder ``run`` with the checkpoint that it came from."""
    folder = tmp_path_factory.mktemp("models")
    write_small_bundle(folder / "mine")
    (folder / "run" / "checkpoints").mkdir(parents=True)
    (folder / "mine.ckpt").rename(folder / "run" / "checkpoints" / "best.ckpt")
    with zipfile.ZipFile(folder / "mine.zip", "w") as archive:
        for path in (folder / "mine").iterdir():
            archive.write(path, f"mine/{path.name}")
    return folder


@pytest.mark.parametrize("given", ["mine", "run", "run/checkpoints", "run/checkpoints/best.ckpt"])
def test_every_way_to_name_a_model_loads_it(given: str, folder: Path) -> None:
    expected = load_model(folder / "mine").engine().predict("I want", 3)
    found = load_model(folder / given).engine().predict("I want", 3)
    assert [one.word for one in found.suggestions] == [one.word for one in expected.suggestions]
    assert len(load_model(folder / given).vocabulary) == 49


def test_title_is_the_folder_that_has_a_name(folder: Path, tmp_path: Path) -> None:
    assert load_model(folder / "mine").title == "mine"
    assert load_model(folder / "run").title == "run"
    bundle = load_model(shutil.copytree(folder / "mine", tmp_path / "bundle"))
    assert bundle.title == bundle.metadata.data.corpus_name


@pytest.mark.parametrize("given", ["run", "run/checkpoints"])
def test_a_run_folder_can_be_exported(given: str, folder: Path, tmp_path: Path) -> None:
    assert export_bundle(folder / given, tmp_path / "bundle").parity


def test_a_run_without_a_validation_is_its_last_checkpoint(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    last = (run / "checkpoints" / "best.ckpt").rename(run / "checkpoints" / "last.ckpt")
    assert load_model(run).path == last


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", r"nowhere: .*RUN/checkpoints/best\.ckpt"),
        ("mine.zip", r"mine\.zip: is a bundle in an archive; unpack it and give the folder"),
        ("mine/model.safetensors", r"is one file of a bundle; give the folder, .*/mine$"),
        ("mine/model.onnx", r"is one file of a bundle; give the folder, .*/mine$"),
        ("mine/manifest.json", r"is one file of a bundle; give the folder, .*/mine$"),
        (".", r"has no manifest\.json and no checkpoints/best\.ckpt; give a bundle, a run folder or a checkpoint"),
    ],
)
def test_everything_else_gets_the_remedy(given: str, message: str, folder: Path) -> None:
    for load in (load_model, lambda path: export_bundle(path, folder / "out")):
        with pytest.raises((BundleError, CheckpointError, CheckpointMissingError), match=message):
            load(folder / given)


def test_a_run_that_saved_nothing_and_a_bundle_to_export_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="is a run folder without a checkpoint"):
        load_model(tmp_path / "run")
    with pytest.raises(CheckpointError, match="is a bundle already; give the checkpoint or run folder it came from"):
        export_bundle(folder / "mine", tmp_path / "out")
