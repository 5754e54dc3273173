"""Run folders as records: reading, listing, grouping, comparing."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lstm_lm.cli.main import main
from lstm_lm.errors import DataError
from lstm_lm.evaluation.token_scores import TOKEN_SCORES, TokenScores
from lstm_lm.report.comparison import as_csv, differences, group_runs
from lstm_lm.report.figures import Curve, curves
from lstm_lm.report.page import run_report
from lstm_lm.report.runs import differing_settings, distinct_names, find_runs, read_run, run_name, select

WORDS = [f"word{number}" for number in range(50)]


def write_run(folder: Path, perplexity: float | None = 100.0, harder: float = 0.0, **settings: Any) -> Path:
    """A run folder with token scores; ``harder`` is added to the loss of every token."""
    config = {
        "model": {"embedding_dim": settings.pop("dim", 64), "hidden_dims": [64]},
        "trainer": {"budget": None},
        "seed": 1,
        "name": None,
        "tags": [],
        **settings,
    }
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / ".hydra" / "overrides.yaml").write_text("- model=tiny\n- 'model.hidden_dims=[64]'\n", encoding="utf-8")
    if perplexity is None:
        return folder
    history = [
        {"epoch": n, "step": 10 * n, "minutes": n / 2, "tokens": 1000 * n, "perplexity": perplexity * (3 - n)}
        for n in (1, 2)
    ]
    metrics = {
        "valid": {
            "perplexity": perplexity,
            "loss": 4.6,
            "top1": 0.25,
            "top3": 0.3,
            "top5": 0.4,
            "words": {"top1": 0.2},
        },
        "history": history,
        "stopped_by": "max_epochs",
        "epochs": 2.0,
        "wall_seconds": 60.0,
        "valid_streams": 20,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    rng, count = np.random.default_rng(0), 1000
    ids = rng.integers(len(WORDS), size=count).astype(np.int32)
    loss = rng.gamma(2.0, 2.0, size=count).astype(np.float32)
    articles = np.repeat(np.arange(20), 50).astype(np.int32)
    confidence = rng.uniform(size=count).astype(np.float32)
    positions = np.arange(count)
    TokenScores(
        positions,
        ids,
        loss + np.float32(harder),
        confidence,
        ids % 7,
        (positions % 30).astype(np.int32),
        articles,
        count,
    ).save(folder / TOKEN_SCORES)
    return folder


def test_seeds_are_summarized_and_the_best_group_comes_first(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / f"{dim}-{seed}", perplexity, dim=dim, seed=seed))
        for dim, seed, perplexity in [(64, 1, 110.0), (64, 2, 114.0), (100, 1, 101.0), (100, 2, 103.0)]
    ]
    best, other = group_runs(runs, "seed")
    assert best.settings == {"model.embedding_dim": 100}
    assert best.mean("perplexity") == 102.0
    assert other.spread("perplexity") == pytest.approx(2.83, abs=0.01)
    assert len(group_runs(runs, None)) == 4


def test_run_without_a_score_comes_last(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / "running", None, dim=8)), read_run(write_run(tmp_path / "done"))]
    assert [group.runs[0].status for group in group_runs(runs, None)] == ["finished", "unfinished"]


def test_name_and_tags_are_not_a_difference(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / "a", name="one", tags=["x"])),
        read_run(write_run(tmp_path / "b", name="two", seed=2)),
    ]
    assert differing_settings(runs) == ["seed"]


def test_difference_is_measured_on_the_same_tokens(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / "a", 100.0)), read_run(write_run(tmp_path / "b", 105.0, harder=0.05, seed=2))]
    (difference,) = differences(group_runs(runs, None))
    assert not isinstance(difference, str)
    assert difference.is_significant
    (runs[1].folder / TOKEN_SCORES).unlink()
    (reason,) = differences(group_runs(runs, None))
    assert "has no valid_tokens.npz" in str(reason)


def test_csv_has_a_column_for_each_differing_setting(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / str(dim), dim=dim)) for dim in (64, 100)]
    rows = list(csv.DictReader(io.StringIO(as_csv(runs))))
    assert [row["model.embedding_dim"] for row in rows] == ["64", "100"]
    assert rows[0]["valid_perplexity"] == "100.0"
    assert "seed" not in rows[0]


def test_only_training_runs_are_found(tmp_path: Path) -> None:
    write_run(tmp_path / "train" / "a")
    write_run(tmp_path / "sweep" / "0" / "b", None)
    (tmp_path / "eval" / ".hydra").mkdir(parents=True)
    (tmp_path / "eval" / ".hydra" / "config.yaml").write_text("split: test\n", encoding="utf-8")
    (tmp_path / "eval" / ".hydra" / "overrides.yaml").write_text("[]\n", encoding="utf-8")
    broken = write_run(tmp_path / "zbroken")
    (broken / "metrics.json").write_text('{"valid": {"perpl', encoding="utf-8")
    (write_run(tmp_path / "zlist") / "metrics.json").write_text("[1]", encoding="utf-8")
    warnings: list[str] = []
    assert [run.folder.name for run in find_runs(tmp_path, warnings.append)] == ["b", "a"]
    assert ["metrics.json: cannot be read" in line for line in warnings] == [True, True]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [("seed=2", True), ("seed=1", False), ("tag=mine", True), ("tag=other", False), ("status=finished", True),
     ("model.hidden_dims=[64]", True), ("trainer.budget=null", True), ("optimizer.lr=1e-2", True),
     ("name=12", True), ("model=tiny", True), ("experiment=quickstart", False), ("folder=/a", True)],
)  # fmt: skip
def test_conditions(tmp_path: Path, condition: str, expected: bool) -> None:
    folder = write_run(tmp_path / "a", seed=2, tags=["mine"], optimizer={"lr": 0.01}, name="12")
    choices = {"model": "tiny", "experiment": None}
    sources = [{"path": "mine", "provider": "command-line"}]
    hydra = {"hydra": {"runtime": {"choices": choices, "config_sources": sources}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra), encoding="utf-8")
    run = read_run(folder)
    assert select([run], [condition]) == ([run] if expected else [])
    assert run.command[:5] == ["lstm-lm", "train", "--config-dir", "mine", "model=tiny"]


@pytest.mark.parametrize(
    ("condition", "message"),
    [("seed", "write KEY=VALUE"), ("seed=[1", "cannot be read"), ("seeds=1", "no run has the setting seeds; did you"),
     ("=1", "no run has the setting ;")],
)  # fmt: skip
def test_condition_that_no_run_can_fulfil_is_named(tmp_path: Path, condition: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        select([read_run(write_run(tmp_path / "a"))], [condition])


def test_run_that_has_not_ended_has_the_score_so_far(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    entries = [
        {"epoch": n, "step": n, "minutes": n, "tokens": n, "loss": loss, "perplexity": 2.0**loss}
        for n, loss in [(1, 5.0), (2, 4.0), (3, 4.5)]
    ]
    (folder / "metrics.json").write_text(json.dumps({"history": entries}), encoding="utf-8")
    run = read_run(folder)
    assert run.status == "unfinished"
    assert (run.score["perplexity"], run.metrics["epochs"], run.metrics["wall_seconds"]) == (16.0, 3, 180)


def test_a_run_is_named_by_its_experiment_and_what_was_overridden() -> None:
    lines = ["optimizer.lr=3e-3", "+callbacks.a._target_=m.C", "~callbacks.x", "seed=2"]
    described = ["resume=auto", "notes=a b", "tags=[a,b]", "experiment=quickstart"]
    assert run_name([*lines, *described]) == "quickstart,seed=2,~x,+_target_=m.C,lr=3e-3"
    assert run_name(["data=chat", "data.dir=/x", "init_from=/my runs/x"]) == "init_from=_my_runs_x,data=chat"
    assert run_name([]) == "default"
    long = [f"model.setting_{number}=0.{number}" for number in range(20)]
    assert run_name(["experiment=mine", *long, "seed=1"]).startswith("mine,seed=1,setting_19=0.19,")
    assert len(run_name([f"experiment={'x' * 300}"])) == 100


def test_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing: no such folder"):
        read_run(tmp_path / "missing")
    with pytest.raises(DataError, match="not the folder of a training run"):
        read_run(tmp_path)


def test_names_are_distinct_below_the_common_folder(tmp_path: Path) -> None:
    assert distinct_names([tmp_path / "a" / "0", tmp_path / "b" / "0"]) == ["a/0", "b/0"]
    assert distinct_names([tmp_path / "a", tmp_path / "a" / "0"]) == ["a", "a/0"]
    assert distinct_names([tmp_path / "a"]) == ["a"]


def test_report_is_one_file_and_escapes_its_texts(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", name="<b>mine</b>", notes="a & b"))
    metrics = {
        **run.metrics,
        "samples": {"prompt": "The", "texts": {"greedy": "<i>text</i>"}},
        "versions": {"torch": "2"},
    }
    words = ["<script>alert(1)</script>", *WORDS[1:]]
    page = run_report(replace(run, metrics=metrics), run.token_scores(), words)
    assert "<script>" not in page
    assert "<b>mine" not in page
    assert "<i>text" not in page
    assert "http" not in page.replace("http://www.w3.org/", ""), "no outside resource"
    assert page.count("<svg") == 6, "three curves, frequency, position, calibration"
    clips = re.findall(r'<clipPath id="(.*?)"', page)
    assert len(clips) == len(set(clips)), "an id of a hidden figure would take the clipping from another one"


def test_ticks_below_a_decade_are_distinct() -> None:
    figure = curves([Curve("valid", [1, 2], [38.2, 38.7])], "steps")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    ticks = [tick.get_text() for tick in axes.get_yticklabels() if low <= tick.get_position()[1] <= high]
    assert len(ticks) == len(set(ticks)) > 1


def test_a_legend_names_each_row_of_a_comparison_once_and_covers_no_curve() -> None:
    lines = [Curve(f"row {number // 2}", [1, 2], [30, 20]) for number in range(40)]
    figure = curves(lines, "steps")
    assert not figure.axes[0].get_legend()
    assert len(figure.legends[0].get_texts()) == 20
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 20


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for seed in (1, 2):
        write_run(tmp_path / "outputs" / str(seed), 100.0 + seed, seed=seed)
    assert main(["runs", "--where", "seed=2"]) == 0
    output = capsys.readouterr().out
    assert "outputs/2" in output
    assert "outputs/1" not in output
    arguments = ["compare", "outputs/1", "outputs/2", "--by", "seed", "--csv", "runs.csv", "--html", "runs.html"]
    assert main(arguments) == 0
    assert "101.50 ± 0.71" in capsys.readouterr().out
    assert (tmp_path / "runs.csv").read_text(encoding="utf-8").count("\n") == 3
    assert "Comparison of 2 runs" in (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert main(["runs", "--where", "status=unfinished"]) == 0
    assert "no runs below outputs with status=unfinished" in capsys.readouterr().out
    assert main(["compare", "outputs/3"]) == 1
    assert "outputs/3: no such folder" in capsys.readouterr().err
    assert main(["compare", "outputs/1", "outputs/1/checkpoints/best.ckpt"]) == 1
    assert "outputs/1: is given twice" in capsys.readouterr().err
