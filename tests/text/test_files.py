"""Files that replace others in one step."""

import os
from pathlib import Path
from typing import Any

import pytest

from lstm_lm.text.files import replace_by_link, write_atomically


def test_a_link_has_the_content_of_its_source_and_keeps_it(tmp_path: Path) -> None:
    best, last = tmp_path / "best", tmp_path / "last"
    write_atomically(best, b"one")
    write_atomically(last, b"older")
    for _ in range(2):  # the second time both are the same file already
        replace_by_link(last, best)
        assert last.read_bytes() == b"one"
        assert last.samefile(best)
    write_atomically(best, b"two")
    assert last.read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "last"]


def test_a_file_system_without_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    best, last = tmp_path / "best", tmp_path / "last"
    write_atomically(best, b"one")
    replace_by_link(last, best)
    assert last.read_bytes() == b"one"
    assert not last.samefile(best)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "last"]
