"""Run the service's tests with the lowest versions that pyproject.toml allows: `bash scripts/test.sh --lowest`.

.venv-lowest gets the base dependencies and the `serve` extra at their lower bounds, and the newest compatible versions
of their own dependencies. torch, pytest and test-only packages come from the environment that runs this script.
Arguments are passed to pytest.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-lowest"
PYTHON = FOLDER / ("Scripts" if os.name == "nt" else "bin") / "python"
TESTS = ("tests/serving", "--ignore=tests/serving/page", "--deselect=tests/serving/test_soak.py")


def main() -> None:
    """Install if the lower bounds changed, then run the tests."""
    pins = "\n".join(lowest_versions()) + "\n"
    stamp = FOLDER / "installed"
    if not stamp.exists() or stamp.read_text() != pins:
        install(pins)
        stamp.write_text(pins)
    command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS)]
    raise SystemExit(subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode)


def lowest_versions() -> list[str]:
    """The requirements of the service at their lower bounds, as ``name==version``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = []
    for requirement in [*project["dependencies"], *project["optional-dependencies"]["serve"]]:
        bound = re.fullmatch(r"([\w.-]+)>=([\w.]+)(?:,[^;]*)?(;.*)?", requirement)
        if bound is None:
            raise SystemExit(f"error: {requirement} in pyproject.toml has no lower bound; write it as name>=version")
        name, version, marker = bound.groups()
        pins.append(f"{name}=={version}{marker or ''}")
    return pins


def install(pins: str) -> None:
    """Create .venv-lowest, replacing an existing one."""
    venv.create(FOLDER, clear=True, with_pip=True)
    requirements = FOLDER / "requirements.txt"
    requirements.write_text(pins)
    pip = [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements]
    if subprocess.run(pip).returncode:
        raise SystemExit(f"error: pip could not install these versions:\n{pins}")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    # appended to sys.path, so that the packages of .venv-lowest take precedence
    (Path(own) / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")


if __name__ == "__main__":
    main()
