"""The wheel, installed into an empty environment and run from another folder."""

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers.real_commands import count_tokens, write_corpus

from lstm_lm import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: no files of an earlier build, no changes in the work tree."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("lstm_lm", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", source, cwd=source)
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a new environment with the wheel; its dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # Python does not read .pth files in a folder added by a .pth file: the editable install here is not visible
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_wheel_contains_package_and_configs_only(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    code = {str(file.relative_to(ROOT)) for file in (ROOT / "lstm_lm").rglob("*.py")}
    data = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "lstm_lm").rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    configs = {f"lstm_lm/{file.relative_to(ROOT)}" for file in (ROOT / "configs").rglob("*.yaml")}
    assert "lstm_lm/py.typed" in names
    assert names == code | data | configs | {"lstm_lm/configs/__init__.py"}


def test_wheel_contains_license_and_readme(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
        for license_file in ("LICENSE", "lstm_lm/inference/naughty_words/LICENSE"):
            assert any(name.endswith(f"/licenses/{license_file}") for name in archive.namelist())
    assert re.search(r"^License-Expression: MIT AND CC-BY-4.0$", text, re.MULTILINE)
    assert "# lstm_lm" in text


def test_installed_command_works_in_another_folder(scripts: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    assert run(scripts / "lstm-lm", "--version", cwd=tmp_path).strip() == f"lstm-lm {__version__}"
    where = run(scripts / "python", "-c", "import lstm_lm; print(lstm_lm.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(scripts.parent)

    assert "you" in run(scripts / "lstm-lm", "predict", "--text", "How are", cwd=tmp_path)  # the shipped model

    shown = run(scripts / "lstm-lm", "data", "data=text_files", "data.dir=corpus", cwd=tmp_path)
    assert f"{count_tokens(corpus / 'train.txt'):,}" in shown

    command = ("train", "data=text_files", "data.dir=corpus", "model=tiny", "callbacks=quiet", "trainer.max_epochs=1")
    run(scripts / "lstm-lm", *command, "hydra.run.dir=run", cwd=tmp_path)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
