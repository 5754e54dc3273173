"""Fixtures that several areas share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes says more about what else the machine does
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def wikitext2_dir() -> Path:
    """WikiText-2 as text files; a developer's machine and CI have it beside the project, a user has not."""
    folder = ROOT.parent / "shared" / "data" / "wikitext-2"
    if not (folder / "train.txt").is_file():
        pytest.skip(f"WikiText-2 is not at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never read or fill the user's cache."""
    os.environ["LSTM_LM_CACHE"] = str(tmp_path_factory.mktemp("cache"))
