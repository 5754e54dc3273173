"""Corpora in the hub's layout give the published files, and a hub that does not answer is an error that helps."""

import errno
import time
from pathlib import Path
from typing import Any

import datasets
import httpx
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import load_corpus
from lstm_lm.errors import CorpusUnreachableError, DataError
from lstm_lm.text.vocabulary import EOS


@pytest.fixture(autouse=True)
def own_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def write_hub_folder(folder: Path, texts: dict[str, str], column: str = "text") -> DataConfig:
    """Lay splits out as Salesforce/wikitext does: a row a line with its line break, blank lines as empty strings."""
    config = folder / "wikitext-2-v1"
    config.mkdir(parents=True)
    for split, text in texts.items():
        rows = [line if line.strip() else "" for line in text.splitlines(keepends=True)]
        pq.write_table(pa.table({column: rows}), config / f"{split}-00000-of-00001.parquet")
    return DataConfig(
        source="wikitext2", hub_path=str(folder), hub_config="wikitext-2-v1", cache_dir=str(folder.parent / "cache")
    )


def test_a_folder_in_the_hubs_layout_equals_the_published_files(wikitext2_dir: Path, tmp_path: Path) -> None:
    names = {"train": "train", "valid": "validation", "test": "test"}
    texts = {theirs: (wikitext2_dir / f"{ours}.txt").read_bytes().decode() for ours, theirs in names.items()}
    corpus = load_corpus(write_hub_folder(tmp_path / "hub", texts))
    published = load_corpus(DataConfig(source="text_files", dir=str(wikitext2_dir)))
    assert len(corpus.vocabulary) == 33_278
    assert corpus.vocabulary == published.vocabulary
    for split, ids in published.splits.items():
        assert np.array_equal(corpus.splits[split], ids)


def test_several_files_of_a_split_are_read_in_order(tmp_path: Path) -> None:
    config = write_hub_folder(tmp_path / "hub", {"train": "a b\n", "validation": "a\n", "test": "b\n"})
    folder = tmp_path / "hub" / "wikitext-2-v1"
    (folder / "train-00000-of-00001.parquet").unlink()
    for index, line in enumerate(["a b\n", "c c\n"]):
        pq.write_table(pa.table({"text": [line]}), folder / f"train-0000{index}-of-00002.parquet")
    corpus = load_corpus(config)
    assert [corpus.vocabulary.word(int(i)) for i in corpus.splits["train"]] == ["a", "b", EOS, "c", "c", EOS]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    config = write_hub_folder(tmp_path / "hub", {"train": "a b\n", "test": "a\n"})
    with pytest.raises(DataError, match=r"wikitext-2-v1: holds no validation-\*\.parquet; data\.hub_path"):
        load_corpus(config)


@pytest.mark.parametrize("place", ["/nowhere/wikitext", "./wikitext", "~/wikitext-that-is-not-there"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(place: str, tmp_path: Path) -> None:
    config = DataConfig("wikitext2", hub_path=place, hub_config="wikitext-2-v1", cache_dir=str(tmp_path))
    with pytest.raises(DataError, match=rf"data\.hub_path={place}: there is no such folder") as error:
        load_corpus(config)
    assert not isinstance(error.value, CorpusUnreachableError)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    texts = {"train": "a b\n", "validation": "a\n", "test": "b\n"}
    config = write_hub_folder(tmp_path / "hub", texts, column="body")
    with pytest.raises(DataError, match=r"has no column 'text' .it has body."):
        load_corpus(config)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    config = write_hub_folder(tmp_path / "hub", {"train": "a b\n", "validation": "a\n", "test": "b\n"})
    (tmp_path / "hub" / "wikitext-2-v1" / "train-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="the Parquet files cannot be read"):
        load_corpus(config)


def behind(error: OSError) -> Exception:
    """What datasets makes of an error while it writes."""
    raised = datasets.exceptions.DatasetGenerationError("An error occurred while generating the dataset")
    raised.__cause__ = error
    return raised


def hub_spec(tmp_path: Path) -> DataConfig:
    return DataConfig(
        source="wikitext2",
        hub_path="Salesforce/wikitext",
        hub_config="wikitext-2-v1",
        cache_dir=str(tmp_path / "cache"),
    )


@pytest.mark.parametrize("config_is_missing", [False, True])
def test_a_hub_that_does_not_answer_is_reported_at_once_with_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config_is_missing: bool
) -> None:
    class Unreachable:
        def head(self, *_: Any, **__: Any) -> None:
            raise httpx.ConnectError("Name or service not known")

    if config_is_missing:  # of a dataset of which another config was downloaded before

        def load_dataset(*_: Any, **__: Any) -> None:
            raise ValueError("Couldn't find cache for Salesforce/wikitext\nAvailable configs in the cache: ['x']")

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub, "get_session", Unreachable)
    offline_before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    begin = time.monotonic()
    with pytest.raises(CorpusUnreachableError) as error:
        load_corpus(hub_spec(tmp_path))
    assert time.monotonic() - begin < 5
    message = str(error.value)
    assert "Salesforce/wikitext (wikitext-2-v1): the Hugging Face hub cannot be reached" in message
    assert "data=text_files data.dir=FOLDER" in message
    assert "data=python_docs" in message
    assert "\n" not in message
    assert not (tmp_path / "cache").exists()
    assert offline_before == (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (ConnectionError("reset"), CorpusUnreachableError, "cannot be reached.*data=python_docs"),
        (httpx.ReadTimeout("slow"), CorpusUnreachableError, "cannot be reached.*data=text_files"),
        (datasets.exceptions.DatasetNotFoundError("x"), CorpusUnreachableError, r"data\.hub_path=Salesforce/wikitext"),
        (ValueError("BuilderConfig 'x' not found"), DataError, r"data\.hub_config=wikitext-2-v1.*BuilderConfig"),
        (OSError(errno.ENOSPC, "No space left on device"), OSError, "No space left"),
        (behind(OSError(errno.ENOSPC, "No space left on device")), OSError, "No space left"),
        (behind(OSError(errno.EACCES, "Permission denied")), OSError, "Permission denied"),
        (OSError("Not enough disk space. Needed: 1 TB"), OSError, "Errno 28.*Not enough disk space"),
    ],
)
def test_what_the_hub_answers_becomes_a_message_of_ours(
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
        load_corpus(hub_spec(tmp_path))
