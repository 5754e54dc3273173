"""The files under scripts/deploy/ are valid."""

import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.waiting import DEADLINE

from lstm_lm.cli.environment import OPENMP
from lstm_lm.serving.settings import ENV_PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "scripts" / "deploy"


@pytest.mark.parametrize("name", ["Dockerfile", "lstm-lm.service", "lstm-lm.plist"])
def test_files_use_existing_settings(name: str) -> None:
    text = (DEPLOY / name).read_text()
    named = set(re.findall(rf"\b{ENV_PREFIX}([A-Z_]+)\b", text)) - {"NAME"}
    assert {"BUNDLE", "HOST", "PORT"} <= named <= {field.upper() for field in Settings.model_fields}
    assert "constraints.txt" in text


@pytest.mark.parametrize("name", ["Dockerfile", "lstm-lm.service", "lstm-lm.plist"])
def test_files_set_the_openmp_variables_of_the_commands(name: str) -> None:
    text = (DEPLOY / name).read_text()
    for variable, value in OPENMP.items():
        assert re.search(rf"\b{variable}(=|</key>\s*<string>){value}\b", text), variable


def test_launchd_file_is_a_property_list() -> None:
    job = plistlib.loads((DEPLOY / "lstm-lm.plist").read_bytes())
    assert Path(job["ProgramArguments"][0]).name == "lstm-lm"
    assert job["ProgramArguments"][1:] == ["serve"]
    assert all(isinstance(value, str) for value in job["EnvironmentVariables"].values())


def test_image_has_its_own_user_and_a_valid_health_check() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER (?!0$|root$)\S+$", text, re.MULTILINE)
    check = re.search(r'CMD \["python", "-c", "(.+)"\]$', text, re.MULTILINE)
    assert check is not None
    compile(check[1].replace('\\"', '"'), "health check", "exec")
    root = DEPLOY.parents[1]
    ignore = (root / ".dockerignore").read_text().split()
    assert all((root / line[1:]).exists() for line in ignore if line.startswith("!"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_unit_is_valid(tmp_path: Path) -> None:
    unit = tmp_path / "lstm-lm.service"
    unit.write_text((DEPLOY / "lstm-lm.service").read_text().replace("/opt/lstm-lm/bin/lstm-lm", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert (done.returncode, done.stderr) == (0, "")
