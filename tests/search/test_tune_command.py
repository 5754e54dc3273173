"""``lstm-lm tune``: a real search over a small corpus."""

import csv
import html
import shlex
from pathlib import Path

import pytest
from helpers.real_commands import write_corpus

from lstm_lm.cli.main import main
from lstm_lm.cli.sweep import read_perplexity

SETTINGS = [
    "data=text_files", "data.dir=corpus", "model=tiny", "model.embedding_dim=16", "model.hidden_dims=[16]",
    "trainer.max_steps=12", "trainer.val_check_interval=0.1", "trainer.precision=fp32", "~callbacks.text_samples",
    "~callbacks.embedding_projector", "logger=none",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_corpus(tmp_path / "corpus")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.mark.slow
def test_search_continues_and_its_best_trial_runs_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "my.yaml").write_text("# @package _global_\nbatching: {bptt_length: 20}\n")
    own = ["--config-dir", "mine", "experiment=my", "+sampling@presets.mine=greedy", "tags=[a,b]", "logger=[csv]"]
    search = ["tune", *SETTINGS, *own, "optimizer.lr=tag(log,interval(1e-3,1e-1))", "cell=lstm,cifg", "--trials"]
    assert main([*search, "1"]) == 0
    assert main([*search, "2"]) == 0
    output = capsys.readouterr().out
    assert "trial 0: valid perplexity" in output
    assert "trial 1: valid perplexity" in output
    study = folder / "outputs" / "tune" / "study"
    trials = [read_perplexity(study / f"trial-000{number}" / "seed-1") for number in (0, 1)]
    best = min(value for value in trials if value is not None)
    command = shlex.split(output.splitlines()[-1])
    assert "~callbacks.text_samples" in command  # an experiment cannot delete it
    assert "text_samples" not in (study / "experiment" / "best.yaml").read_text()
    assert main([*command[1:], "hydra.run.dir=again"]) == 0
    assert read_perplexity(folder / "again") == pytest.approx(best, rel=1e-6)
    capsys.readouterr()
    assert main(["tune-report"]) == 0
    assert f"{best:.2f}" in capsys.readouterr().out
    page = (study / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") >= 3
    assert shlex.join(command) in html.unescape(page)
    runs = [str(study / f"trial-000{number}" / "seed-1") for number in (0, 1)]
    assert main(["compare", *runs, "--csv", "trials.csv"]) == 0
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        assert "optimizer.lr" in next(csv.reader(file))
    assert main(["runs", "--where", "tag=b", "--where", "experiment=my"]) == 0
    assert "2 runs with" in (listed := capsys.readouterr().out)
    assert "tags=[a,b]" in listed
    for other in (["trainer.max_epochs=1"], ["optimizer.lr=1e-3,1e-2"], ["--seeds", "2"]):
        assert main([*search, "3", *other]) == 1
        assert "study: has other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=1e-3"], "no setting is varied"),
        (["optimizer.lr=1e-3,2e-3", "seed=2"], "seed: is set by the search"),
        (["optimizer.lrr=1e-3,2e-3"], "optimizer.lrr"),
        (["model=tiny,smal"], "smal"),
        (["optimizer.lr=interval(1e-3,1e-2)", "--sampler", "grid"], "a grid needs a list of values"),
        (["model.hidden_dropout=interval(0,1.5)"], "model.hidden_dropout: must be in [0, 1) (got 1.5)"),
        (["optimizer.lr=1e-3,2e-3", "data.dir=nope"], "data.dir=nope: no such folder"),
        (["optimizer.lr=1e-3,2e-3", "--study", "../x"], "--study: must be the name of a folder"),
        (["optimizer.lr=1e-3,2e-3", "--storage", "garbage"], "--storage: cannot open garbage"),
        (["optimizer.lr=1e-3,2e-3", "--sampler", "tpo"], "--sampler: unknown (got 'tpo')"),
        (["optimizer.lr=1e-3,2e-3", "--startup-trials", "-1"], "--startup-trials: must not be negative (got -1)"),
    ],
)
def test_mistakes_are_reported_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["tune", *SETTINGS, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "nope"], "has no study nope"),
        (["--storage", "sqlite:///nope.db"], "sqlite:///nope.db: has no study study"),
        (["--storage", "garbage"], "--storage: cannot open garbage"),
        (["--storage", "postgresql+psycopg://me:secret@127.0.0.1:1/x"], "cannot open postgresql+psycopg://me:***@"),
    ],
)
def test_study_that_does_not_exist_is_named_and_not_created(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["tune-report", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} == {"corpus"}
