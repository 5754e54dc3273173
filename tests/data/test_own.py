"""A corpus of one's own: one function and one YAML, in a folder outside the project."""

from pathlib import Path

import pytest
import torch

from lstm_lm.cli.main import main
from lstm_lm.data.config import DataConfig
from lstm_lm.data.corpora import open_split
from lstm_lm.errors import DataError

MODULE = """
from pathlib import Path

Path(__file__).with_name("imported").touch()


def colours(split, data):
    for number in range({"train": 300, "valid": 40, "test": 40}[split]):
        yield f"the {data.title} of cat {number % 7} is red\\n and so on"


def numbers(split, data):
    yield from range(3)


empty = ()
"""
OPTION = """
# Colours of cats.
source: own
lines: own_corpora_of_this_test.colours
title: colour
tokenizer: moses
min_count: 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_corpora_of_this_test.py").write_text(MODULE)
    (tmp_path / "my_configs" / "data").mkdir(parents=True)
    (tmp_path / "my_configs" / "data" / "colours.yaml").write_text(OPTION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_run_reads_it_and_its_checkpoint_runs_no_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = ["--config-dir", "my_configs", "data=colours"]
    small = ["batching.batch_size=4", "batching.eval_batch_size=2"]
    assert main(["data", *corpus, *small]) == 0
    assert "the colour of cat 0 is red <eos>" in capsys.readouterr().out
    run = ["hydra.run.dir=run", "model=tiny", "trainer.max_epochs=1", "callbacks=quiet", *small]
    assert main(["train", *corpus, *run]) == 0
    saved = torch.load(folder / "run/checkpoints/best.ckpt", weights_only=True)["lstm_lm"]["data"]
    assert saved["lines"] == "own_corpora_of_this_test.colours"  # a record, never called

    (folder / "imported").unlink()
    capsys.readouterr()
    assert main(["eval", "checkpoint=run", "hydra.run.dir=scored"]) == 1
    assert "a checkpoint never runs code: give your own data=OPTION again" in capsys.readouterr().err
    assert main(["export", "checkpoint=run", "out=bundle", "hydra.run.dir=exported"]) == 0
    assert "| corpus | colour |" in (folder / "bundle" / "README.md").read_text()
    assert "own_corpora" not in (folder / "bundle" / "manifest.json").read_text()
    assert main(["eval", "checkpoint=run", "hydra.run.dir=scored", *corpus]) == 0
    assert not (folder / "imported").exists()  # the module was imported once, by data


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("own_corpora_of_this_test.nothing", r"data\.lines=.*\.nothing: cannot be imported .*MODULE\.FUNCTION"),
        ("no_such_module_here.lines", "cannot be imported .No module named"),
        ("own_corpora_of_this_test.empty", "empty is not a class or a function"),
        ("own_corpora_of_this_test.numbers", "must yield lines of text .got 0"),
    ],
)
def test_errors_name_the_function(folder: Path, lines: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(open_split(DataConfig(source="own", lines=lines), "train").blocks())


def test_the_function_is_required() -> None:
    (problem,) = DataConfig(source="own").problems()
    assert problem == "lines: own needs the function that yields the lines of a split; set data.lines=MODULE.NAME"
