"""Corpora in the hub's layout, and errors of the hub."""

import errno
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import httpx
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lstm_lm.data import hub
from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import load_corpus
from lstm_lm.errors import CorpusUnreachableError, DataError
from lstm_lm.text.vocabulary import EOS


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def write_hub_folder(folder: Path, texts: dict[str, str], column: str = "text") -> DataConfig:
    """Write splits in the layout of Salesforce/wikitext: one row per line, with its line break unless blank."""
    config = folder / "wikitext-2-v1"
    config.mkdir(parents=True)
    for split, text in texts.items():
        rows = [line if line.strip() else "" for line in text.splitlines(keepends=True)]
        pq.write_table(pa.table({column: rows}), config / f"{split}-00000-of-00001.parquet")
    return DataConfig(
        source="wikitext2", hub_path=str(folder), hub_config="wikitext-2-v1", cache_dir=str(folder.parent / "cache")
    )


def test_a_folder_in_the_hubs_layout_equals_the_text_files(wikitext2_dir: Path, tmp_path: Path) -> None:
    files = {"train": "train.txt", "validation": "valid.txt", "test": "test.txt"}
    texts = {hub_split: (wikitext2_dir / file).read_bytes().decode() for hub_split, file in files.items()}
    corpus = load_corpus(write_hub_folder(tmp_path / "hub", texts))
    expected = load_corpus(DataConfig(source="text_files", dir=str(wikitext2_dir)))
    assert len(corpus.vocabulary) == 33_278
    assert corpus.vocabulary == expected.vocabulary
    for split, ids in expected.splits.items():
        assert np.array_equal(corpus.splits[split], ids)


def test_the_files_of_a_split_are_read_in_order(tmp_path: Path) -> None:
    config = write_hub_folder(tmp_path / "hub", {"train": "a b\n", "validation": "a\n", "test": "b\n"})
    folder = tmp_path / "hub" / "wikitext-2-v1"
    (folder / "train-00000-of-00001.parquet").unlink()
    for index, line in enumerate(["a b\n", "c c\n"]):
        pq.write_table(pa.table({"text": [line]}), folder / f"train-0000{index}-of-00002.parquet")
    corpus = load_corpus(config)
    assert [corpus.vocabulary.word(int(i)) for i in corpus.splits["train"]] == ["a", "b", EOS, "c", "c", EOS]


def test_error_for_a_missing_split_has_the_splits(tmp_path: Path) -> None:
    config = write_hub_folder(tmp_path / "hub", {"train": "a b\n", "test": "a\n"})
    with pytest.raises(DataError, match=r"data.splits: cannot read 'validation' of .*hub .*'train', 'test'.*; name"):
        load_corpus(config)


@pytest.mark.parametrize("folder", ["/nowhere/wikitext", "./wikitext", "~/missing-wikitext"])
def test_a_missing_folder_is_not_looked_up_on_the_hub(folder: str, tmp_path: Path) -> None:
    config = DataConfig("wikitext2", hub_path=folder, hub_config="wikitext-2-v1", cache_dir=str(tmp_path))
    with pytest.raises(DataError, match=rf"data\.hub_path={folder}: no such folder") as error:
        load_corpus(config)
    assert not isinstance(error.value, CorpusUnreachableError)


def test_error_for_a_missing_column_has_the_columns(tmp_path: Path) -> None:
    texts = {"train": "a b\n", "validation": "a\n", "test": "b\n"}
    config = write_hub_folder(tmp_path / "hub", texts, column="body")
    with pytest.raises(DataError, match=r"has no column 'text' .got body."):
        load_corpus(config)


def test_error_for_a_damaged_file(tmp_path: Path) -> None:
    config = write_hub_folder(tmp_path / "hub", {"train": "a b\n", "validation": "a\n", "test": "b\n"})
    (tmp_path / "hub" / "wikitext-2-v1" / "train-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"hub .wikitext-2-v1.: cannot load the dataset in this folder .*Parquet"):
        load_corpus(config)


def generation_error(cause: OSError) -> Exception:
    """The error that datasets raises if it cannot write."""
    error = datasets.exceptions.DatasetGenerationError("An error occurred while generating the dataset")
    error.__cause__ = cause
    return error


def hub_config(tmp_path: Path) -> DataConfig:
    return DataConfig(
        source="wikitext2",
        hub_path="Salesforce/wikitext",
        hub_config="wikitext-2-v1",
        cache_dir=str(tmp_path / "cache"),
    )


@pytest.fixture(autouse=True)
def _hub_not_tried_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_unreachable_since", -math.inf)


def test_an_unreachable_hub_is_tried_once_for_all_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    class Unreachable:
        def head(self, *_: Any, **__: Any) -> None:
            tries.append(1)
            raise httpx.ConnectTimeout("no route")

    monkeypatch.setattr(huggingface_hub, "get_session", Unreachable)
    assert [hub._is_reachable() for _ in range(3)] == [False] * 3
    assert len(tries) == 1


OFFLINE_TRAIN = """
from lstm_lm.cli.main import main
from lstm_lm.data import hub
hub._is_reachable = lambda: False
status = main(["train", "hydra.run.dir=run"])
print(status)
"""


def test_train_without_a_connection_answers_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "LSTM_LM_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_TRAIN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "the Hugging Face hub is unreachable" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == "1"


@pytest.mark.parametrize("config_is_missing", [False, True])
def test_an_unreachable_hub_is_reported_at_once_with_both_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config_is_missing: bool
) -> None:
    class Unreachable:
        def head(self, *_: Any, **__: Any) -> None:
            raise httpx.ConnectError("Name or service not known")

    if config_is_missing:  # another config of the dataset is in the cache

        def load_builder(*_: Any, **__: Any) -> None:
            raise ValueError("Couldn't find cache for Salesforce/wikitext\nAvailable configs in the cache: ['x']")

        monkeypatch.setattr(datasets, "load_dataset_builder", load_builder)
    monkeypatch.setattr(huggingface_hub, "get_session", Unreachable)
    offline_before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)  # as a library does before it tries again
    with pytest.raises(CorpusUnreachableError) as error:
        load_corpus(hub_config(tmp_path))
    assert sum(waited) < 1
    message = str(error.value)
    assert "Salesforce/wikitext (wikitext-2-v1): the Hugging Face hub is unreachable" in message
    assert "data=text_files data.dir=FOLDER" in message
    assert "data=python_docs" in message
    assert "\n" not in message
    assert not (tmp_path / "cache").exists()
    assert offline_before == (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (ConnectionError("reset"), CorpusUnreachableError, "is unreachable.*data=python_docs"),
        (httpx.ReadTimeout("slow"), CorpusUnreachableError, "is unreachable.*data=text_files"),
        (datasets.exceptions.DatasetNotFoundError("x"), CorpusUnreachableError, r"data\.hub_path=Salesforce/wikitext"),
        (
            ValueError("BuilderConfig 'x' not found"),
            DataError,
            r"wikitext-2-v1.: cannot .*BuilderConfig.*data\.hub_config",
        ),
        (RuntimeError("Dataset scripts are no longer supported"), DataError, "cannot load.*scripts"),
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left"),
        (generation_error(OSError(errno.ENOSPC, "No space left on device")), OSError, "No space left"),
        (generation_error(OSError(errno.EACCES, "Permission denied")), OSError, "Permission denied"),
        (OSError("Not enough disk space. Needed: 1 TB"), OSError, "Errno 28.*Not enough disk space"),
    ],
)
def test_errors_of_the_hub_become_errors_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception], message: str
) -> None:
    class Reachable:
        def head(self, *_: Any, **__: Any) -> None:
            pass

    def load_builder(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(huggingface_hub, "get_session", Reachable)
    monkeypatch.setattr(datasets, "load_dataset_builder", load_builder)
    with pytest.raises(expected, match=message):
        load_corpus(hub_config(tmp_path))


def write_rows(path: Path, **columns: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


@pytest.fixture
def reviews(tmp_path: Path) -> DataConfig:
    """A dataset with other names: a column ``review``, and no split but train."""
    folder = tmp_path / "reviews"
    rows = ["a b c", None, "a\nb"] * 4
    write_rows(folder / "data" / "train-00000-of-00001.parquet", review=rows, stars=[1, 2, 3] * 4)
    return DataConfig(
        source="hub",
        hub_path=str(folder),
        text_column="review",
        splits=["train[:50%]", "train[50%:75%]", "train[75%:]"],
        cache_dir=str(tmp_path / "cache"),
    )


def test_any_column_and_parts_of_a_split(reviews: DataConfig) -> None:
    corpus = load_corpus(reviews)
    decoded = {split: [corpus.vocabulary.word(int(i)) for i in ids] for split, ids in corpus.splits.items()}
    row = ["a", "b", "c", EOS, EOS, "a", EOS, "b", EOS]  # a missing text is a blank line
    assert decoded == {"train": row * 2, "valid": row, "test": row}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": ["train", "dev", "test"]}, r"cannot read 'dev' .*of \['train'\].*data\.splits=\['train\[:90%\]"),
        ({"splits": ["train[:1%]", "dev", "test"]}, r"cannot read 'train\[:1%\]'.*no data"),
        ({"text_column": "text"}, r"has no column 'text' .got review, stars.; set data\.text_column=NAME"),
        ({"text_column": "stars"}, r"data\.text_column=stars: must be text .got int64 in"),
        ({"hub_config": "v2"}, r"reviews .v2.: cannot load the dataset in this folder .*Available: .*; data\.hub_path"),
    ],
)
def test_errors_of_a_dataset_name_the_setting_to_change(
    reviews: DataConfig, changes: dict[str, Any], message: str
) -> None:
    changes = {"splits": ["train", "train[:50%]", "train[50%:]"]} | changes
    with pytest.raises(DataError, match=message):
        load_corpus(replace(reviews, **changes))


def test_lists_are_not_text(tmp_path: Path) -> None:
    write_rows(tmp_path / "hub" / "train.parquet", text=[["a", "b"]] * 4)
    config = DataConfig(source="hub", hub_path=str(tmp_path / "hub"), splits=["train", "train[:50%]", "train[50%:]"])
    with pytest.raises(DataError, match=r"data\.text_column=text: must be text .got lists"):
        load_corpus(config)


def test_errors_of_the_settings(reviews: DataConfig) -> None:
    reviews.hub_revision, reviews.splits = "v1.0", ["train", "train", "test"]
    problems = "\n".join(reviews.problems())
    assert "hub_revision: a local folder has no revisions (got 'v1.0')" in problems
    assert "splits: must name three different splits" in problems
    assert DataConfig(source="hub").problems() == [
        "hub_path: hub needs the dataset's name or folder; set data.hub_path=NAME"
    ]


def test_config_and_revision_are_asked_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_builder(*args: Any, **options: Any) -> None:
        asked.append((args, options))
        raise datasets.exceptions.DatasetNotFoundError("Revision 'v9' doesn't exist for dataset 'x/y' on the Hub.")

    monkeypatch.setattr(hub, "_is_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset_builder", load_builder)
    config = DataConfig(source="hub", hub_path="x/y", hub_config="en", hub_revision="v9", cache_dir=str(tmp_path))
    with pytest.raises(CorpusUnreachableError, match=r"Revision 'v9' doesn't exist .* or data\.hub_revision"):
        load_corpus(config)
    assert asked == [(("x/y", "en"), {"revision": "v9"})]


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (DataConfig("hub", hub_path="a/b"), "a/b"),
        (DataConfig("hub", hub_path="a/b", hub_config="en"), "a/b (en)"),
        (DataConfig("wikitext2", title="WikiText-2", hub_path="a/b", hub_config="c"), "WikiText-2"),
        (DataConfig("text_files", dir="some/letters/"), "letters"),
        (DataConfig("text_file", file="some/book.txt"), "book.txt"),
        (DataConfig("python_docs"), "python_docs"),
    ],
)
def test_a_corpus_has_a_name_of_its_own(config: DataConfig, name: str) -> None:
    assert config.corpus_name == name


def test_a_local_dataset_has_the_name_of_its_folder(reviews: DataConfig) -> None:
    assert reviews.corpus_name == "reviews"
