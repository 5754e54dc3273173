"""The chat corpus: as typed on a phone, without addresses, split by conversation."""

import json
import re
from pathlib import Path

import pytest

from lstm_lm.data import chat
from lstm_lm.data.config import SPLITS, DataConfig
from lstm_lm.data.corpora import open_split
from lstm_lm.data.encoding import load_corpus
from lstm_lm.errors import DataError


def write_dataset(path: Path, conversations: dict[str, list[list[str]]]) -> None:
    messages = {
        key: {"messages": [[{"text": text} for text in turn] for turn in turns]} for key, turns in conversations.items()
    }
    path.write_text(json.dumps(messages))


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "dataset.json"
    monkeypatch.setattr(chat, "_dataset", lambda: path)
    chat.sources_digest.cache_clear()
    return path


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("i dont know. do you?", "I don't know. Do you?"),
        ("Im sure i'm late, and i'd say im right", "I'm sure I'm late, and I'd say I'm right"),
        ("  two   spaces\n", "Two spaces"),
        ("haha... well! and you", "Haha... well! And you"),
        ("(maybe)", "(Maybe)"),
        ("iPhone users", "iPhone users"),
        ("its a cat, its tail; lets go", "It's a cat, its tail; let's go"),
        ("he was ill but ill be there", "He was ill but I'll be there"),
        ("OH NO WAY", "Oh no way"),
        ("OK LA", "OK LA"),
        ("DONT go", "DON'T go"),
        ("check youtube.com/watch?v=1, i.e. now", "Check <url> , i.e. now"),
        ("youtube.com", "<url>"),
        ("(808) 782-1557", "<phone>"),
        ("me@example.org", "<email>"),
        (":)", ":)"),
        ("", ""),
    ],
)
def test_a_message_is_as_a_phone_would_have_typed_it(message: str, expected: str) -> None:
    assert chat.as_typed(message) == expected
    assert chat.as_typed(expected) == expected


def test_a_line_is_a_message_and_a_blank_line_ends_a_conversation(dataset: Path) -> None:
    conversations = {f"key{i}": [["hello", " "], ["hi!", f"number {i}"]] for i in range(300)}
    write_dataset(dataset, conversations)
    splits = {split: list(chat.ChatSplit(split)) for split in SPLITS}
    lines = [line for split in SPLITS for line in splits[split]]
    assert sorted(lines) == sorted(line for i in range(300) for line in ("Hello", "Hi!", f"Number {i}", ""))
    assert all(lines[start : start + 2] == ["Hello", "Hi!"] and not lines[start + 3] for start in range(0, 1200, 4))
    shares = [len(splits[split]) / 1200 for split in SPLITS]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.04)
    # a further conversation moves no other
    write_dataset(dataset, {"new": [["something else"]]} | conversations)
    for split, before in splits.items():
        assert list(chat.ChatSplit(split))[-len(before) :] == before


def test_noise_is_dropped(dataset: Path) -> None:
    talk = "we went to the lake and swam until it was dark then had dinner with friends"
    spam = [f"the {colour} cow jumped" for colour in ("red", "odd", "bald")] * 100
    write_dataset(dataset, {"a": [[talk, "a a a a a a a", "no no no no"]], "b": [spam], "c": [[""]]})
    lines = [line for split in SPLITS for line in chat.ChatSplit(split)]
    assert lines == [talk.capitalize(), "No no no no", ""]


def test_the_cache_notices_another_dataset(dataset: Path) -> None:
    write_dataset(dataset, {"a": [["hello"]]})
    first = open_split(DataConfig(source="chat"), "train").digest()
    assert open_split(DataConfig(source="chat"), "valid").digest() != first
    chat.sources_digest.cache_clear()
    write_dataset(dataset, {"a": [["hello you"]]})
    assert open_split(DataConfig(source="chat"), "train").digest() != first


def test_error_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(_: str) -> None:
        raise ModuleNotFoundError("No module named 'chitchat_dataset'")

    monkeypatch.setattr(chat, "files", not_installed)
    chat.sources_digest.cache_clear()
    with pytest.raises(DataError, match=r"chitchat-dataset is not installed; run pip install 'lstm-lm\[chat\]'"):
        open_split(DataConfig(source="chat"), "train")


@pytest.mark.slow
def test_the_package_has_the_published_text_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    chat.sources_digest.cache_clear()
    lines = {split: list(chat.ChatSplit(split)) for split in SPLITS}  # once: it takes ten seconds
    monkeypatch.setattr(chat, "ChatSplit", lines.__getitem__)
    corpus = load_corpus(DataConfig(source="chat", tokenizer="moses", min_count=3))
    sizes = {split: len(ids) for split, ids in corpus.splits.items()}
    assert sizes == {"train": 2_745_042, "valid": 141_539, "test": 168_480}
    assert "<url>" in corpus.vocabulary
    text = "\n".join(line for split in SPLITS for line in lines[split])
    assert not re.search(r"https?://|www\.\w|\w@\w+\.\w|\(\d{3}\)", text)
    counts = dict(zip(corpus.vocabulary.words, corpus.vocabulary.counts, strict=True))
    assert counts["I"] > 50 * counts["i"]
    assert counts["don"] > 100 * counts.get("dont", 0)
