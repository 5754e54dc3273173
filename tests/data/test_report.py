"""The corpus report, and the check that targets are the inputs shifted by one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lstm_lm.data import streams
from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.data.encoding import EncodedCorpus, Ids, load_corpus
from lstm_lm.data.report import data_report
from lstm_lm.errors import DataError


def test_the_report_has_counts_and_the_tokens_of_the_first_lines(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("the cat 's hat @-@ stand , it sat .\n\n" * 20)
    (tmp_path / "valid.txt").write_text("the dog sat .\n")
    (tmp_path / "test.txt").write_text("the cat\n" * 3)
    corpus = load_corpus(DataConfig(source="text_files", dir=str(tmp_path)))
    report = data_report(
        corpus, BatchingConfig(batch_size=2, eval_batch_size=3, bptt_length=8, jitter=True, random_offset=True)
    )
    assert (report.corpus, report.tokenizer, report.vocabulary_size) == (tmp_path.name, "whitespace", 12)
    splits = {split.name: split for split in report.splits}
    assert (splits["train"].tokens, splits["train"].lines, splits["train"].unk_rate) == (240, 40, 0)
    assert (splits["valid"].tokens, splits["valid"].lines, splits["valid"].unk_rate) == (5, 1, 0.2)
    train, valid, test = report.batches
    assert train.shape[0] == 2
    assert (train.name, train.stream_length) == ("train", 120)
    assert (valid.shape, valid.windows) == ((3, 2), 1)
    assert (test.shape, test.windows) == ((3, 3), 1)
    assert splits["train"].sample == ("the cat 's hat @-@ stand , it sat . <eos>",) * 3
    assert splits["valid"].sample == ("the <unk:dog> sat . <eos>",)
    assert report.coverage == ((11, 1.0),)


def test_the_sample_has_long_lines_cut_and_coverage_counts_the_most_frequent_words(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(1500)]
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(f"{' '.join(words)}\n<unk> {'w0 ' * 497}\n")
    corpus = load_corpus(DataConfig(source="text_files", dir=str(tmp_path)))
    report = data_report(corpus, BatchingConfig(batch_size=2, eval_batch_size=2))
    assert report.splits[0].sample[0] == " ".join([*words[:30], "…"])
    # 2,000 tokens: 498 times w0, 2 times <eos>, 1 of each other word, and <unk>, which is not covered
    assert report.coverage == (pytest.approx((1000, 1498 / 2000)), pytest.approx((1501, 1999 / 2000)))


def corpus_of_letters(folder: Path) -> EncodedCorpus:
    (folder / "train.txt").write_text("a b c d e f g h i j\n" * 30)
    for split in ("valid", "test"):
        (folder / f"{split}.txt").write_text("a b c d e x\n" * 3)
    return load_corpus(DataConfig(source="text_files", dir=str(folder)))


BATCHING = BatchingConfig(batch_size=2, eval_batch_size=2, bptt_length=7, random_offset=True)


def test_the_windows_are_compared_with_the_text(tmp_path: Path) -> None:
    report = data_report(corpus_of_letters(tmp_path), BATCHING)
    assert [batch.compared for batch in report.batches] == [165, 11, 11]


def test_ids_that_are_not_the_texts_are_noticed(tmp_path: Path) -> None:
    corpus = corpus_of_letters(tmp_path)
    other = corpus.splits["train"].copy()
    other[20] = (other[20] + 1) % len(corpus.vocabulary)
    damaged = replace(corpus, splits={**corpus.splits, "train": other})
    with pytest.raises(DataError, match=r"train: the targets of window 2 are not the words of the text"):
        data_report(damaged, BATCHING)


@pytest.mark.parametrize("shift", [0, 2])
def test_a_wrong_shift_is_noticed(shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(ids: Ids, positions: np.ndarray, eos_id: int) -> tuple[torch.Tensor, torch.Tensor]:
        targets, inputs = ids[positions].astype(np.int64), ids[positions - shift].astype(np.int64)
        inputs[positions < shift] = eos_id
        return torch.from_numpy(inputs), torch.from_numpy(targets)

    monkeypatch.setattr(streams, "inputs_and_targets", shifted)
    with pytest.raises(DataError, match=r"train: the inputs of window 0 are not the words of the text"):
        data_report(corpus_of_letters(tmp_path), BATCHING)
