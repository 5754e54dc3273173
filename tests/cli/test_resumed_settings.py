"""A resumed run has the settings of the run that it continues, except for those that are given."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lstm_lm.cli.main import main
from lstm_lm.cli.resumed_settings import with_resumed_settings
from lstm_lm.errors import ConfigError

RECORDED = [
    "experiment=quickstart",
    "data=text_files",
    "data.dir=corpus",
    "model=tiny",
    "model.hidden_dims=[64]",
    "+sampling@presets.mine=creative",
    "optimizer.lr=0.01",
    "init_from=bundle",
    "resume=auto",
]
TAKEN = RECORDED[:-2]


@pytest.fixture(autouse=True)
def _in_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_run(overrides: list[str], folder: Path = Path("run"), **runtime: Any) -> Path:
    """A run folder as Hydra and a training run leave it behind."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")
    OmegaConf.save({"data": {"source": "text_files", "dir": "corpus"}}, folder / ".hydra" / "config.yaml")
    runtime = {"cwd": str(Path.cwd()), "config_sources": []} | runtime
    OmegaConf.save({"hydra": {"runtime": runtime}}, folder / ".hydra" / "hydra.yaml")
    return folder


def test_a_run_folder_is_continued_in_place_with_its_settings() -> None:
    run = write_run(RECORDED)
    expected = [*TAKEN, "trainer.max_epochs=9", "resume=auto", "hydra.run.dir=run"]
    assert with_resumed_settings([f"resume={run}", "trainer.max_epochs=9"]) == expected
    assert with_resumed_settings(["resume=auto", "hydra.run.dir=run"]) == [*TAKEN, "resume=auto", "hydra.run.dir=run"]
    last = "resume=run/checkpoints/last.ckpt"
    assert with_resumed_settings([last, "hydra.run.dir=new"]) == [*TAKEN, last, "hydra.run.dir=new"]
    assert with_resumed_settings([f"resume={run}", "hydra.run.dir=new"]) == [*TAKEN, "hydra.run.dir=new", last]


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        ("optimizer.lr=1", {"optimizer.lr=0.01"}),
        ("model=large", {"model=tiny", "model.hidden_dims=[64]"}),
        ("model.hidden_dims=[32]", {"model.hidden_dims=[64]"}),
        ("data=python_docs", {"data=text_files", "data.dir=corpus"}),
        ("+sampling@presets.mine=greedy", {"+sampling@presets.mine=creative"}),
        ("seed=3", set()),
    ],
)
def test_a_given_setting_replaces_what_was_recorded_for_it(given: str, replaced: set[str]) -> None:
    write_run(RECORDED)
    expected = [line for line in TAKEN if line not in replaced]
    assert with_resumed_settings(["resume=auto", "hydra.run.dir=run", given])[: len(expected)] == expected


@pytest.mark.parametrize(
    "line",
    [
        ["model=tiny"],
        ["resume=null", "model=tiny"],
        ["resume=auto", "hydra.run.dir=run", "experiment=baseline"],
        ["resume=auto", "hydra.run.dir=run", "-m", "seed=1,2"],
        ["resume=auto", "hydra.run.dir=new"],
        ["resume=auto"],
        ["resume=elsewhere/last.ckpt"],
    ],
)
def test_a_complete_command_and_one_without_a_run_stay_as_they_are(line: list[str]) -> None:
    write_run(RECORDED)
    assert sorted(with_resumed_settings(line)) == sorted(line)


def test_paths_of_the_corpus_hold_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(["experiment=mine"]).absolute()
    (tmp_path / "corpus").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    taken = with_resumed_settings([f"resume={run}"])
    assert taken[:2] == ["experiment=mine", f"data.dir={tmp_path / 'corpus'}"]
    assert with_resumed_settings([f"resume={run}", "data.dir=mine"])[:2] == ["experiment=mine", "data.dir=mine"]


def test_what_a_folder_contains_is_not_run() -> None:
    target = "optimizer._target_=os.system"
    run = write_run(["model=tiny", target, "+callbacks.mine={_target_:os.system}"])
    with pytest.raises(ConfigError) as caught:
        with_resumed_settings([f"resume={run}"])
    assert caught.value.problems == (
        f"resume: run was started with {target}, which runs code; give it again",
        "resume: run was started with +callbacks.mine={_target_:os.system}, which runs code; give it again",
    )
    given = [target, "+callbacks.mine={_target_:os.system}"]
    assert with_resumed_settings([f"resume={run}", *given])[0] == "model=tiny"


@pytest.mark.parametrize(
    "line",
    ["model.cell=mine:MyCell", "model={cell: 'mine:MyCell'}", "+data.lines=mine.lines", "data={lines:mine.lines}"],
)
def test_an_object_that_a_folder_names_is_not_imported(line: str) -> None:
    run = write_run(["model=tiny", "cell=cifg", "model.cell=cifg", line])
    with pytest.raises(ConfigError, match="which runs code; give it again") as caught:
        with_resumed_settings([f"resume={run}"])
    assert len(caught.value.problems) == 1


def test_a_folder_of_configs_has_to_be_given_again() -> None:
    source = {"provider": "command-line", "path": "/my/configs", "schema": "file"}
    run = write_run(["experiment=mine"], config_sources=[source])
    with pytest.raises(ConfigError, match="was started with --config-dir /my/configs; give it again"):
        with_resumed_settings([f"resume={run}"])
    Path("configs").mkdir()
    assert "experiment=mine" in with_resumed_settings(["--config-dir", "configs", f"resume={run}"])


def test_a_folder_without_a_checkpoint_or_with_a_damaged_record_is_named() -> None:
    Path("empty").mkdir()
    with pytest.raises(ConfigError, match="resume: there is no checkpoint in empty/checkpoints"):
        with_resumed_settings(["resume=empty"])
    run = write_run(RECORDED)
    for text in ("[", "3", "hydra: 4", "\0"):
        (run / ".hydra" / "hydra.yaml").write_text(text)
        with pytest.raises(
            ConfigError, match=r"resume: run/\.hydra cannot be read \(\w+\); give experiment=NAME again"
        ):
            with_resumed_settings(["resume=run"])


@pytest.mark.slow
def test_a_run_continues_by_its_folder_alone(small_corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["model=tiny", "callbacks=quiet", "batching.bptt_length=10", "optimizer.lr=1e-2", "seed=7"]
    corpus = ["data=text_files", f"data.dir={small_corpus}"]
    assert main(["train", *settings, *corpus, "trainer.max_epochs=1", "hydra.run.dir=run"]) == 0
    first = json.loads(Path("run/metrics.json").read_text())
    assert main(["train", "resume=run", "trainer.max_epochs=2"]) == 0
    assert "settings of run: model=tiny callbacks=quiet" in capsys.readouterr().err
    second = json.loads(Path("run/metrics.json").read_text())
    assert (second["seed"], second["steps"]) == (7, 2 * first["steps"])
    # the record of the run is complete: it continues again
    assert main(["train", "resume=run", "trainer.max_epochs=3"]) == 0
    assert json.loads(Path("run/metrics.json").read_text())["steps"] == 3 * first["steps"]
    assert main(["train", "resume=run", "trainer.max_epochs=4", "optimizer.lr=2e-2"]) == 1
    assert "optimizer.lr is 0.01 in the checkpoint and 0.02 now" in capsys.readouterr().err
