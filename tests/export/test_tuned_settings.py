"""Tuned settings are saved in their checkpoint or reported."""

import os
from pathlib import Path

import pytest
import torch
from helpers.small_models import write_small_checkpoint

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.errors import CheckpointError


def test_settings_of_other_evaluations_are_kept(tmp_path: Path) -> None:
    path = write_small_checkpoint(tmp_path / "best.ckpt")
    for evaluation, settings in (("cache", {"cache_weight": 0.25}), ("dynamic", {"lr": 0.001})):
        read_checkpoint(path).save_tuned(evaluation, settings)
    assert read_checkpoint(path).tuned == {"cache": {"cache_weight": 0.25}, "dynamic": {"lr": 0.001}}


def test_changed_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    path = write_small_checkpoint(tmp_path / "best.ckpt")
    checkpoint, before = read_checkpoint(path), path.read_bytes()
    os.utime(path, ns=(0, 0))
    with pytest.raises(CheckpointError, match=r"best\.ckpt: changed while its settings were tuned"):
        checkpoint.save_tuned("cache", {})
    assert path.read_bytes() == before


def test_settings_that_cannot_be_saved_are_in_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = read_checkpoint(write_small_checkpoint(tmp_path / "best.ckpt"))

    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match=r"evaluation=cache evaluation\.cache_weight=0\.25"):
        checkpoint.save_tuned("cache", {"cache_weight": 0.25})
