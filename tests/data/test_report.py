"""What a user is shown before training, and the check that stops a wrong shift."""

from pathlib import Path

import pytest
import torch

from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.data.encoding import load_corpus
from lstm_lm.data.report import check_shift, data_report
from lstm_lm.data.streams import Window
from lstm_lm.errors import DataError


def test_a_report_counts_and_decodes(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("the cat 's hat @-@ stand , it sat .\n\n" * 20)
    (tmp_path / "valid.txt").write_text("the dog sat .\n")
    (tmp_path / "test.txt").write_text("the cat\n" * 3)
    corpus = load_corpus(DataConfig(source="text_files", dir=str(tmp_path)))
    report = data_report(
        corpus, BatchingConfig(batch_size=2, eval_batch_size=3, bptt_length=8, jitter=True, random_offset=True)
    )
    assert (report.corpus, report.tokenizer, report.vocabulary_size) == ("text_files", "whitespace", 12)
    splits = {split.name: split for split in report.splits}
    assert (splits["train"].tokens, splits["train"].lines, splits["train"].unk_rate) == (240, 40, 0)
    assert (splits["valid"].tokens, splits["valid"].lines, splits["valid"].unk_rate) == (5, 1, 0.2)
    train, valid, test = report.batches
    assert train.shape[0] == 2
    assert (train.name, train.stream_length) == ("train", 120)
    assert (valid.shape, valid.windows) == ((3, 2), 1)
    assert (test.shape, test.windows) == ((3, 3), 1)
    assert report.sample.startswith("the cat's hat-stand, it sat.\n\nthe cat's")


def window(inputs: list[int], targets: list[int], mask: list[bool] | None = None) -> Window:
    return Window(torch.tensor([inputs]), torch.tensor([targets]), None if mask is None else torch.tensor([mask]), True)


def test_the_shift_check_passes_what_is_right() -> None:
    check_shift("train", [window([0, 1, 2], [1, 2, 3]), window([3, 4], [4, 5]), window([5, 9], [6, 9], [True, False])])


def test_the_shift_check_stops_targets_that_equal_inputs() -> None:
    with pytest.raises(DataError, match=r"train: in window 1 a target is not the word that comes next"):
        check_shift("train", [window([0, 1, 2], [1, 2, 3]), window([3, 4], [3, 4])])


def test_the_shift_check_stops_windows_that_do_not_join() -> None:
    with pytest.raises(DataError, match=r"valid: window 1 does not begin where window 0 ends"):
        check_shift("valid", [window([0, 1], [1, 2]), window([7, 8], [8, 9])])
