"""Encoding shows its progress on a terminal, and nothing elsewhere."""

import sys
from pathlib import Path

import pytest

from lstm_lm.cli.encoding_bar import encoding_bar
from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import load_corpus


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_for_terminals(
    terminal: bool,
    small_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    data = DataConfig(source="text_files", dir=str(small_corpus), cache_dir=str(tmp_path))
    with encoding_bar() as progress:
        assert (progress is not None) == terminal
        assert len(load_corpus(data, progress).splits["train"])
    shown = capsys.readouterr().err
    assert ("encoding train" in shown and "encoding test" in shown) == terminal
    assert bool(shown) == terminal
