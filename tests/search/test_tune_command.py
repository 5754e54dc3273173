"""``lstm-lm tune``: a real search over a small corpus."""

import csv
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
    search = ["tune", *SETTINGS, "optimizer.lr=tag(log,interval(1e-3,1e-1))", "schedule=constant,linear", "--trials"]
    assert main([*search, "1"]) == 0
    assert main([*search, "2"]) == 0
    output = capsys.readouterr().out
    assert "trial 0: valid perplexity" in output
    assert "trial 1: valid perplexity" in output
    study = folder / "outputs" / "tune" / "study"
    trials = [read_perplexity(study / f"trial-000{number}" / "seed-1") for number in (0, 1)]
    best = min(value for value in trials if value is not None)
    assert main(["train", "--config-dir", str(study), "experiment=best", "seed=1", "hydra.run.dir=again"]) == 0
    assert read_perplexity(folder / "again") == pytest.approx(best, rel=1e-6)
    capsys.readouterr()
    assert main(["tune-report"]) == 0
    assert f"{best:.2f}" in capsys.readouterr().out
    runs = [str(study / f"trial-000{number}" / "seed-1") for number in (0, 1)]
    assert main(["compare", *runs, "--csv", "trials.csv"]) == 0
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        assert "optimizer.lr" in next(csv.reader(file))
    assert main([*search[:-1], "--trials", "2", "trainer.max_epochs=1"]) == 1
    assert "study: has other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=1e-3"], "no setting is varied"),
        (["optimizer.lr=1e-3,2e-3", "seed=2"], "seed: is set by the search"),
        (["optimizer.lrr=1e-3,2e-3"], "optimizer.lrr"),
        (["model=tiny,smal"], "smal"),
        (["optimizer.lr=interval(1e-3,1e-2)", "--sampler", "grid"], "a grid needs a list of values"),
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
