"""Ids follow frequency; saving and loading preserve a vocabulary."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.errors import DataError
from lstm_lm.text.vocabulary import EOS, UNK, Vocabulary

COUNTS = {"the": 9, "b": 3, "a": 3, "rare": 1, EOS: 5, UNK: 2}


def test_words_are_sorted_by_frequency_then_alphabetically() -> None:
    vocabulary = Vocabulary.from_counts(COUNTS)
    assert vocabulary.words == ("the", EOS, "a", "b", UNK, "rare")
    assert vocabulary.counts == (9, 5, 3, 3, 2, 1)
    assert (vocabulary.eos_id, vocabulary.unk_id) == (1, 4)


def test_rare_words_count_as_unk() -> None:
    vocabulary = Vocabulary.from_counts(COUNTS, min_count=3)
    assert vocabulary.words == ("the", EOS, UNK, "a", "b")
    assert vocabulary.counts[vocabulary.unk_id] == 3
    assert vocabulary.encode(["the", "rare", "never seen"]) == [0, vocabulary.unk_id, vocabulary.unk_id]


def test_special_words_are_added_if_train_has_none() -> None:
    vocabulary = Vocabulary.from_counts({"a": 1, "b": 1})
    assert vocabulary.words == ("a", "b", EOS, UNK)


@given(st.dictionaries(st.text("abcde", min_size=1, max_size=3), st.integers(1, 50)), st.integers(3, 12))
def test_max_size_keeps_the_most_frequent_and_every_count(counts: dict[str, int], max_size: int) -> None:
    vocabulary = Vocabulary.from_counts(counts, max_size=max_size)
    assert len(vocabulary) == min(max_size, len(counts) + 2)
    assert sum(vocabulary.counts) == sum(counts.values())
    dropped = [n for word, n in counts.items() if word not in vocabulary]
    kept = [counts[word] for word in vocabulary.words if word in counts]
    assert not dropped or not kept or max(dropped) <= min(kept)


def test_loading_gives_what_was_saved(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_counts(COUNTS | {"é\u200b": 1})
    vocabulary.save(tmp_path / "vocabulary.json")
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert loaded == vocabulary
    assert loaded.fingerprint == vocabulary.fingerprint
    assert hash(loaded) == hash(vocabulary)


def test_fingerprint_depends_on_the_order() -> None:
    one = Vocabulary(["a", "b", UNK, EOS], [1, 1, 1, 1])
    other = Vocabulary(["b", "a", UNK, EOS], [1, 1, 1, 1])
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not a readable vocabulary"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "not a readable vocabulary"),
        ('{"format": 1, "words": ["\\ud800", "<unk>", "<eos>"], "counts": [1, 1, 1]}', "surrogates not allowed"),
        (
            json.dumps({"format": 1, "words": ["a b", UNK, EOS], "counts": [1, 1, 1]}),
            "is empty or contains white space",
        ),
        (json.dumps({"format": 1, "words": ["", UNK, EOS], "counts": [1, 1, 1]}), "is empty or contains white space"),
        (json.dumps({"format": 99}), "reads format 1 .got 99.; update lstm_lm if the format is newer"),
        (json.dumps({"format": 1, "words": "abc", "counts": []}), "'words' must be a list"),
        (json.dumps({"format": 1, "words": [UNK, EOS], "counts": [1, "2"]}), "'counts' must be a list"),
        (json.dumps({"format": 1, "words": ["a", "a", UNK, EOS], "counts": [1, 1, 1, 1]}), "occurs more than once"),
        (json.dumps({"format": 1, "words": ["a", UNK], "counts": [1, 1]}), "<eos> must be in the vocabulary"),
        (json.dumps({"format": 1, "words": [UNK, EOS], "counts": [1, 2]}), "sorted by descending frequency"),
        (json.dumps({"format": 1, "words": [UNK, EOS], "counts": [1]}), "as many counts"),
    ],
)
def test_error_for_a_bad_file_has_its_path_and_the_problem(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value)


def test_error_for_a_missing_file_has_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json"):
        Vocabulary.load(tmp_path / "none.json")
