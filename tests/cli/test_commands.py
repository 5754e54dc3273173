"""The commands on a small corpus, in the order of a typical session."""

import csv
import json
import shlex
from pathlib import Path

import pytest

from lstm_lm.cli.main import main

pytestmark = pytest.mark.slow

SMALL = ["model=tiny", "callbacks=quiet", "batching.bptt_length=10", "optimizer.lr=1e-2"]


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _corpus(folder: Path) -> list[str]:
    return ["data=text_files", f"data.dir={folder}"]


def test_data_train_eval_export(small_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = _corpus(small_corpus)
    assert main(["data", *corpus, "batching.bptt_length=10"]) == 0
    assert "the first words agree (160 of train, 16 of valid, 16 of test)" in " ".join(capsys.readouterr().out.split())

    assert main(["train", *SMALL, *corpus, "trainer.max_epochs=2", "hydra.run.dir=run"]) == 0
    shown = capsys.readouterr().out
    assert "lstm-lm eval checkpoint=run/checkpoints/best.ckpt" in shown
    trained = json.loads(Path("run/metrics.json").read_text())
    assert trained["valid"]["perplexity"] < 10
    assert f"{trained['valid']['perplexity']:.2f} (read as {trained['valid_streams']} streams; eval reads 1)" in shown

    checkpoint = "checkpoint=run/checkpoints/best.ckpt"
    assert main(["eval", checkpoint, "split=valid", "hydra.run.dir=eval"]) == 0
    score = json.loads(Path("eval/metrics.json").read_text())
    assert list(score) == [
        "split",
        "evaluation",
        "streams",
        "tokens",
        "loss",
        "perplexity",
        "top1",
        "top3",
        "top5",
        "words",
        "unk_rate",
    ]
    assert (score["split"], score["evaluation"], score["tokens"]) == ("valid", "static", 40 * 8)
    assert score["loss"] == pytest.approx(trained["valid"]["loss"], abs=0.05)

    assert main(["eval", checkpoint, "split=valid", "evaluation=keyboard", "hydra.run.dir=typed"]) == 0
    typed = json.loads(Path("typed/metrics.json").read_text())
    assert (typed["evaluation"], typed["tokens"]) == ("keyboard", score["tokens"])
    assert typed["words"]["tokens"] == score["words"]["tokens"]
    assert f"{100 * typed['keystroke_savings_rate']:.2f} %" in capsys.readouterr().out

    assert main(["export", checkpoint, "out=bundle"]) == 0
    shown = capsys.readouterr().out
    assert "lstm-lm serve --model bundle" in shown
    assert Path("bundle/manifest.json").is_file()
    # a bundle contains no local path, so the corpus must be given
    assert main(["eval", "checkpoint=bundle", "split=valid"]) == 1
    assert "data=text_files data.dir=FOLDER" in capsys.readouterr().err
    assert main(["eval", "checkpoint=bundle", "split=valid", *corpus, "hydra.run.dir=eval2"]) == 0
    assert json.loads(Path("eval2/metrics.json").read_text())["loss"] == pytest.approx(score["loss"], abs=1e-5)


def test_printed_command_trains_the_model_further(small_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = Path("my configs") / "experiment"
    experiment.mkdir(parents=True)
    lines = [f"# @package _global_\ndata: {{source: text_files, dir: {small_corpus}}}\n", "optimizer: {lr: 1e-2}\n"]
    (experiment / "mine.yaml").write_text("".join(lines))
    typed = ["train", "--config-dir", "my configs", "experiment=mine", *SMALL[:3], "hydra.run.dir='my run'"]
    assert main([*typed, "trainer.max_steps=2"]) == 0
    steps = []
    for _ in range(2):
        (command,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lstm-lm train")]
        assert main(shlex.split(command)[1:]) == 0, command
        steps.append(json.loads(Path("my run/metrics.json").read_text())["steps"])
    assert steps == [4, 8]
    # typed again: the run is finished, or its folder is refused
    capsys.readouterr()
    assert main([*typed, "trainer.max_steps=8", "resume=auto"]) == 0
    assert "this run is finished (ended by max_steps)" in capsys.readouterr().out
    assert main([*typed, "trainer.max_steps=8"]) == 1
    assert "resume=auto" in capsys.readouterr().err


def test_sweep_with_a_failing_job(small_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*SMALL, *_corpus(small_corpus), "trainer.max_epochs=1", "batching.batch_size=20,100000"]
    assert main(["train", "-m", *lines, "hydra.sweep.dir=sweep"]) == 1
    captured = capsys.readouterr()
    with Path("sweep/sweep.csv").open(newline="") as file:
        done, failed = csv.DictReader(file)
    assert (done["status"], failed["status"]) == ("done", "failed")
    assert float(done["perplexity"]) > 1
    assert "batching.batch_size" in failed["reason"]
    assert "lstm-lm eval checkpoint=sweep/0/checkpoints/best.ckpt" in captured.out
    assert "1 of 2 jobs" in captured.err


def test_run_folder_that_is_a_file_is_a_one_line_error(small_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("mine")
    for folder in ("taken", "taken/run"):
        assert main(["train", *SMALL, *_corpus(small_corpus), f"hydra.run.dir={folder}"]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.endswith("; choose another folder\n")
        assert len(error.splitlines()) == 1
    assert Path("taken").read_text() == "mine"


def test_brackets_in_a_corpus_are_not_markup(small_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = small_corpus / "train.txt"
    train.write_text("hello [/i] [bold] world\n" + train.read_text())
    assert main(["data", *_corpus(small_corpus)]) == 0
    assert "hello [/i] [bold] world" in capsys.readouterr().out


def test_missing_checkpoint_is_a_one_line_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "checkpoint=nowhere.ckpt"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: nowhere.ckpt")
    assert len(error.splitlines()) == 1
