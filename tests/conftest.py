"""Shared fixtures."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# one thread, unless set: a run with more chooses their number by timing, and its last bits depend on it
os.environ.setdefault("OMP_NUM_THREADS", "1")

# no deadline: the time of an example depends on the load of the machine
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


def pytest_collection_finish() -> None:
    """Keep what was imported out of garbage collections, which take 7 % of the time otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def wikitext2_dir() -> Path:
    """WikiText-2 as text files, beside the project on development machines and CI; skips if missing."""
    folder = ROOT.parent / "shared" / "data" / "wikitext-2"
    if not (folder / "train.txt").is_file():
        pytest.skip(f"WikiText-2 is not at {folder}")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep tests away from the user's cache; the workers of a test run share one, which encodes each corpus once."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["LSTM_LM_CACHE"] = str(folder / "cache")
