"""The shipped block list and the operator's file."""

from pathlib import Path

import pytest
from helpers.small_models import write_small_bundle

from lstm_lm.bundle import read_bundle
from lstm_lm.errors import ConfigError
from lstm_lm.inference.blocklist import read_word_file, shipped_blocklist
from lstm_lm.serving.settings import Settings


def test_the_shipped_list_has_words_and_phrases() -> None:
    words = shipped_blocklist()
    assert len(words) == len(set(words)) == 403
    assert all(word == word.strip() for word in words)
    assert "slut" in words


def test_a_word_file_has_one_word_per_line(tmp_path: Path) -> None:
    path = tmp_path / "deny.txt"
    path.write_text("\ufeffcat\r\n\n  old town \n#1\n", encoding="utf-8")
    assert read_word_file(path, "LSTM_LM_DENY_FILE") == ("cat", "old town", "#1")


@pytest.mark.parametrize("content", [None, b"caf\xe9"])
def test_an_unreadable_word_file_is_a_clear_error(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "deny.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"LSTM_LM_DENY_FILE: .*deny\.txt"):
        read_word_file(path, "LSTM_LM_DENY_FILE")


def test_settings_add_the_file_and_turn_the_list_off(tmp_path: Path) -> None:
    path = tmp_path / "deny.txt"
    path.write_text("cat\n")
    assert Settings(bundle=tmp_path).blocked_words() == shipped_blocklist()
    assert Settings(bundle=tmp_path, deny_file=path).blocked_words() == (*shipped_blocklist(), "cat")
    assert Settings(bundle=tmp_path, deny_file=path, blocklist=False).blocked_words() == ("cat",)


def test_an_engine_of_a_bundle_has_the_shipped_list_unless_told(tmp_path: Path) -> None:
    bundle = read_bundle(write_small_bundle(tmp_path / "small"))
    everything = {s.word for s in bundle.engine(blocked=()).predict("I", 99).suggestions}
    assert everything == {s.word for s in bundle.engine().predict("I", 99).suggestions}
    assert {s.word for s in bundle.engine(blocked=("cat",)).predict("I", 99).suggestions} == everything - {"cat"}
