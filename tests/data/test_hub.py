"""Corpora in the hub's layout, and errors of the hub."""

import errno
import math
import os
import subprocess
import sys
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


def test_error_for_a_missing_split_has_its_file(tmp_path: Path) -> None:
    config = write_hub_folder(tmp_path / "hub", {"train": "a b\n", "test": "a\n"})
    with pytest.raises(DataError, match=r"wikitext-2-v1: no validation-\*\.parquet found; data\.hub_path"):
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
    with pytest.raises(DataError, match="the Parquet files are unreadable"):
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
import sys
from lstm_lm.cli.main import main
from lstm_lm.data import hub
hub._is_reachable = lambda: False
status = main(["train", "hydra.run.dir=run"])
print(status, sorted({"torch", "lightning"} & set(sys.modules)))
"""


def test_train_without_a_connection_answers_before_it_imports_torch(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "LSTM_LM_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_TRAIN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "the Hugging Face hub is unreachable" in done.stderr
    assert done.stdout.splitlines()[-1] == "1 []"


@pytest.mark.parametrize("config_is_missing", [False, True])
def test_an_unreachable_hub_is_reported_at_once_with_both_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config_is_missing: bool
) -> None:
    class Unreachable:
        def head(self, *_: Any, **__: Any) -> None:
            raise httpx.ConnectError("Name or service not known")

    if config_is_missing:  # another config of the dataset is in the cache

        def load_dataset(*_: Any, **__: Any) -> None:
            raise ValueError("Couldn't find cache for Salesforce/wikitext\nAvailable configs in the cache: ['x']")

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
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
        (ValueError("BuilderConfig 'x' not found"), DataError, r"data\.hub_config=wikitext-2-v1.*BuilderConfig"),
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

    def load_dataset(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(huggingface_hub, "get_session", Reachable)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(expected, match=message):
        load_corpus(hub_config(tmp_path))
