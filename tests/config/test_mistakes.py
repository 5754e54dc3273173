"""Validation reports every mistake of a command line at once, each with the closest valid name or a remedy."""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from lstm_lm.config.overrides import as_override
from lstm_lm.config.renames import RENAMED_OPTIONS, RENAMED_SETTINGS
from lstm_lm.config.validation import check
from lstm_lm.errors import ConfigError


def problems(command: str, *lines: str, multirun: bool = False, config_dir: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(command, lines, multirun, None if config_dir is None else str(config_dir))
    return list(caught.value.problems)


def only(command: str, *lines: str, multirun: bool = False) -> str:
    (problem,) = problems(command, *lines, multirun=multirun)
    return problem


# each line with the message that it causes; one check reports them all
MISSPELLED = {
    "optimizer.lrr=1": "optimizer.lrr: unknown setting; did you mean optimizer.lr?",
    "+loss.nam=1": "loss.nam: unknown setting; did you mean loss.name?",
    "++schedule.warmup_fracton=0": "unknown setting; did you mean schedule.warmup_fraction?",
    "optimizer.name=asgd": "optimizer.name: unknown setting; did you mean optimizer=NAME, or optimizer._target_=CLASS?",
    "+trainer.acumulate_grad_batches=2": "unknown setting; did you mean trainer.accumulate_grad_batches?",
    "+trainer.max_epoch=2": "trainer.max_epoch: unknown setting; did you mean trainer.max_epochs?",
    "+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitr": (
        "cannot be imported (got lightning.pytorch.callbacks.LearningRateMonitr); did you mean "
        "lightning.pytorch.callbacks.LearningRateMonitor?"
    ),
    "logger.tensorboard.prefx=x": "logger.tensorboard.prefx: unknown setting",
    "~logger.tensorbord": "logger.tensorbord: unknown setting; did you mean logger.tensorboard?",
    "lr=1": "lr: unknown setting; did you mean optimizer.lr?",
    "optimiser.lr=1": "optimiser.lr: unknown setting; did you mean optimizer.lr?",
    "modle=tiny": "modle: unknown setting; did you mean model?",
    "~shedule": "shedule: unknown setting; did you mean schedule?",
    "experimnt=baseline": "experimnt: unknown setting; did you mean experiment?",
    "model=smal": "model: unknown option (got smal); did you mean small?",
    "experiment=wikitext2_60mins": "experiment: unknown option (got wikitext2_60mins); did you mean wikitext2_60min?",
    "sampling@presets.greedi=greedy": "did you mean sampling@presets.greedy? to add it, write +sampling@",
    "presets.greedi.top_k=3": "presets.greedi.top_k: unknown preset; did you mean greedy?",
    "hydra.run.dri=x": "hydra.run.dri: unknown Hydra setting; did you mean hydra.run.dir?",
    "moddel@presets.x=tiny": "moddel@presets.x: unknown config group; did you mean model@presets.x?",
    "_target_=os.system": "_target_: unknown setting",
}
WRONG = {
    "trainer.budget=${trainer.epochs}": "trainer.budget: cannot be resolved",
    "trainer.max_val_fraction=2": "trainer.max_val_fraction: must be from 0 to 1 (got 2.0)",
    "trainer.max_epochs=0": "trainer.max_epochs: must be at least 1 (got 0); null is no limit with a budget",
    "model": "model: is not a setting; write KEY=VALUE",
    "=3": "=3: has no key",
    "~model.tie_weights": "~model.tie_weights: a setting cannot be removed",
    "+seed=3": "+seed: exists already (is 1); omit the +, as in seed=3",
    "+model=tiny": "+model: is in the defaults list already; write model=tiny",
    "++loss=full_softmax": "++loss: is in the defaults list already; write loss=full_softmax",
    "experiment=null": "write ~experiment to leave it out",
    "optimizer=3": "optimizer: unknown option (got 3)",
    "model.embedding_dim.x=3": "model.embedding_dim.x: unknown setting",
    "optimizer.betas=[1,2]": "optimizer: torch.optim.Adam rejects its arguments (Invalid beta parameter at index 0",
    "schedule.warmup_fraction=2": "schedule.warmup_fraction: must be in [0, 1) (got 2); try 0.1",
    "trainer.logger=true": "trainer.logger: is managed by the run (got True); choose loggers with the group logger",
    "+callbacks.mine.patience=3": "callbacks.mine: needs _target_, the path of a class or a function",
    "presets=3": "presets: is a group of settings (got 3)",
    "+presets.mine.top_k=3": "to add one, write +sampling@presets.mine=OPTION",
    "data=text_files": "data.dir: text_files needs the folder",
    "resume=nowhere.ckpt": "resume: no such file (got nowhere.ckpt)",
    "model.hidden_dims=10,20": "write a list as model.hidden_dims=[10,20]",
    "optimizer.momentum=1,2": "optimizer.momentum: several values (got 1,2); add -m",
    "hydra.run.dir=a,b": "hydra.run.dir: Hydra's own settings cannot be swept over",
    "hydra/launcher=nope": "hydra/launcher: unknown option (got nope); options are basic",
}


@cache
def report(lines: tuple[str, ...]) -> str:
    return "\n".join(problems("train", *lines))


@pytest.mark.parametrize("line", MISSPELLED)
def test_misspelled_name_suggests_closest(line: str) -> None:
    assert MISSPELLED[line] in report(tuple(MISSPELLED))


@pytest.mark.parametrize("line", WRONG)
def test_wrong_value_is_reported_with_remedy(line: str) -> None:
    assert WRONG[line] in report(tuple(WRONG))


def test_each_line_causes_one_problem() -> None:
    for lines in (MISSPELLED, WRONG):
        assert len(report(tuple(lines)).splitlines()) == len(lines)


@pytest.mark.parametrize(("old", "new"), RENAMED_SETTINGS.items())
def test_renamed_setting_suggests_new_name(old: str, new: str) -> None:
    assert only("train", f"{old}=1") == f"{old}: unknown setting; did you mean {new}?"


@pytest.mark.parametrize(("choice", "new"), RENAMED_OPTIONS.items())
def test_renamed_option_suggests_new_name(choice: tuple[str, str], new: str) -> None:
    assert f"did you mean {new}?" in only("train", "=".join(choice))


def test_suggestion_compares_the_last_part_of_the_path() -> None:
    assert "did you mean" not in only("train", "trainer.zzz=true")


def test_loss_that_does_not_fit_the_network() -> None:
    assert only("train", "loss.name=adaptive_softmax").startswith(
        "model.cutoffs: loss.name=adaptive_softmax needs cutoffs (got []); choose loss=adaptive_softmax"
    )
    for loss in ("full_softmax", "sampled_softmax"):
        problem = only("train", f"loss={loss}", "model.cutoffs=[0.1]")
        assert f"needs adaptive_softmax (got {loss!r}); choose loss=adaptive_softmax" in problem
    assert "model.cutoffs: each must be above 0" in only("train", "loss=adaptive_softmax", "model.cutoffs=[2]")


def test_all_mistakes_are_reported_at_once() -> None:
    reported = problems(
        "train",
        "optimizer.lrr=3",
        "optimizer=adm",
        "optimizer.lr=abc",
        "model.hidden_dims=200",
        "model.input_dropout=2",
        "seed=-1",
        "optimizer.weight_decay=nan",
        "resume=/a=b.ckpt",
        "batching.batch_size=1.5",
        "callbacks.progress_bar=maybe",
        "trainer.max_steps=null",
        "data.dir=a,b",
    )
    assert len(reported) == 12
    text = "\n".join(reported)
    for part in (
        "optimizer.lrr: unknown setting; did you mean optimizer.lr?",
        "optimizer: unknown option (got adm); did you mean adam?",
        "optimizer.lr: must be a number (got 'abc')",
        "model.hidden_dims: must be a list of integers",
        "model.input_dropout: must be in [0, 1) (got 2.0)",
        "seed: must be from 0 to 4294967295",
        "optimizer.weight_decay: must be a finite number",
        "resume: the value cannot be read",
        "batching.batch_size: must be an integer (got 1.5)",
        "callbacks.progress_bar: needs _target_, the path of a class or a function (got maybe)",
        "trainer.max_steps: must be an integer (got null)",
        "data.dir: several values",
    ):
        assert part in text


def test_many_overrides_take_few_compositions(monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []

    def counting(*args: Any, **kwargs: Any) -> DictConfig:
        composed.append(args)
        return hydra.compose(*args, **kwargs)

    monkeypatch.setattr("lstm_lm.config.compose.compose", counting)
    lines = [f"+presets.greedy.seed={number}" for number in range(20)]
    assert len(problems("train", *lines, "model=tiny", "optimizer.lrr=1", "trainer.devicse=1")) == 21
    assert len(composed) <= 6
    composed.clear()
    check("train", ["model=tiny", "optimizer.lr=1"])
    assert len(composed) == 1


def test_option_of_a_plugin_that_is_not_installed() -> None:
    problem = only("train", "hydra/launcher=ray_aws")
    assert problem == "hydra/launcher: ray_aws is not installed; pip install 'lstm-lm[ray]'"


def test_suggested_quoting_can_be_pasted() -> None:
    problem = only("train", "resume=/runs/lr=3/last.ckpt")
    (word,) = shlex.split(problem.rpartition("shell: ")[2])
    assert OverridesParser.create().parse_override(word).value() == "/runs/lr=3/last.ckpt"


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12))
def test_as_override_round_trips_any_text(text: str) -> None:
    assert OverridesParser.create().parse_override(as_override("key", text)).value() == text


def test_missing_required_settings_are_reported() -> None:
    assert only("eval") == "checkpoint: is required; give checkpoint=VALUE"
    assert len(problems("export")) == 2


def test_setting_of_a_null_group_lists_the_options() -> None:
    assert "data=NAME (chat, hub, own, python_docs" in only("eval", "checkpoint=x", "data.dir=corpus")
    assert "split: unknown (got 'tst')" in only("eval", "checkpoint=x", "split=tst")


class TestFiles:
    def _write(self, folder: Path, text: str) -> Path:
        (folder / "experiment").mkdir()
        (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")
        return folder

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("batching:\n  jiter: true\n", "batching.jiter: unknown setting{}; did you mean batching.jitter?"),
            ("trainer:\n  devices: many\n", "trainer.devices: must be an integer (got 'many'){}"),
            (
                "model:\n  hidden_dims: [1.5]\n",
                "model.hidden_dims[0]: must be an integer (got 1.5){}",
            ),
            ("trainer:\n  max_steps: null\n", "trainer.max_steps: must be an integer (got null){}"),
            ("_target_: os.system\n", "_target_: unknown setting{}"),
            ("model:\n  _target_: x.Y\n", "model._target_: unknown setting{}"),
            ("data:\n  name: x\n", "data.name: unknown setting{}; did you mean data.source?"),
            ("hydra:\n  run:\n    dri: x\n", "hydra.run.dri: unknown Hydra setting{}; did you mean hydra.run.dir?"),
        ],
    )
    def test_mistake_in_an_experiment_names_the_file(self, text: str, problem: str, tmp_path: Path) -> None:
        self._write(tmp_path, text)
        reported = problems("train", "experiment=mine", "seed=-1", "averaging.horizon=abc", config_dir=tmp_path)
        assert problem.format(" (in experiment/mine.yaml)") == reported[0]
        assert reported[1:] == [
            "averaging.horizon: must be a number (got 'abc')",
            "seed: must be from 0 to 4294967295 (got -1); try 1",
        ]

    def test_invalid_value_of_an_experiment_is_reported(self, tmp_path: Path) -> None:
        self._write(tmp_path, "model:\n  input_dropout: 3\nseed: -1\n")
        first, second = problems("train", "experiment=mine", config_dir=tmp_path)
        assert first.startswith("model.input_dropout: must be in [0, 1)")
        assert second.startswith("seed: must be from 0")

    def test_experiment_without_its_package_line(self, tmp_path: Path) -> None:
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "mine.yaml").write_text("seed: 3\n")
        (problem,) = problems("train", "experiment=mine", config_dir=tmp_path)
        assert problem == (
            "experiment: unknown setting (in experiment/mine.yaml); the first line of that file must be "
            "# @package _global_"
        )

    def test_unknown_option_in_an_experiment(self, tmp_path: Path) -> None:
        self._write(tmp_path, "defaults:\n  - override /model: gigantic\n")
        first, second = problems("train", "experiment=mine", "seed=-1", config_dir=tmp_path)
        assert "model/gigantic" in first
        assert "seed" in second

    def test_file_that_does_not_fit_the_schema_is_named(self, tmp_path: Path) -> None:
        self._write(tmp_path, "model: 3\n")
        assert problems("train", "experiment=mine", config_dir=tmp_path)[0].startswith("In 'experiment/mine': ")

    def test_invalid_yaml_names_the_file(self, tmp_path: Path) -> None:
        self._write(tmp_path, "optimizer: [1,\n")
        assert "mine.yaml" in problems("train", "experiment=mine", config_dir=tmp_path)[0]

    def test_a_list_after_an_override_gets_the_remedy(self, tmp_path: Path) -> None:
        self._write(tmp_path, "defaults:\n  - override /model: tiny\n  - /callbacks: [default]\n")
        assert "override entries last" in problems("train", "experiment=mine", config_dir=tmp_path)[0]

    def test_missing_config_dir(self, tmp_path: Path) -> None:
        assert "--config-dir" in problems("train", config_dir=tmp_path / "nowhere")[0]


class TestSweeps:
    def test_jobs_are_in_hydra_order(self) -> None:
        checked = check("train", ["model=tiny,small", "optimizer.lr=1e-3,3e-3", "seed=2"], multirun=True)
        assert checked.multirun
        assert [job[0] for job in checked.jobs] == ["model=tiny", "model=tiny", "model=small", "model=small"]
        assert all(job[2] == "seed=2" for job in checked.jobs)

    @pytest.mark.parametrize("sweep", ["seed=range(1,4)", "seed=choice(1,2,3)", "trainer=glob(*)"])
    def test_every_discrete_sweep_is_expanded(self, sweep: str) -> None:
        lines = [sweep, "trainer.devices=1", "trainer.strategy=auto"]
        assert len(check("train", lines, multirun=True).jobs) == 3

    def test_every_job_is_checked(self) -> None:
        reported = problems("train", "model=tiny,smal", "optimizer.lr=1e-3,-1", "seed=-1", multirun=True)
        assert len(reported) == 3
        assert any("did you mean small?" in problem and "2 of 4 jobs" in problem for problem in reported)
        rejected = "optimizer.lr: must be above 0 (got -1)"
        assert any(rejected in problem and "2 of 4 jobs" in problem for problem in reported)
        assert "seed: must be from 0 to 4294967295 (got -1); try 1" in reported

    @pytest.mark.parametrize("lines", [["trainer=ddp"], ["trainer.devices=2"]])
    def test_sweep_over_several_processes_is_rejected(self, lines: list[str]) -> None:
        lines = [*lines, "trainer.precision=fp32"]
        assert "set trainer.devices=1 trainer.num_nodes=1 trainer.strategy=auto" in only("train", *lines, multirun=True)
        check("train", [*lines, "trainer.devices=1", "trainer.strategy=auto"], multirun=True)

    def test_several_processes_need_an_explicit_precision(self) -> None:
        assert "set fp32 or bf16" in only("train", "trainer.devices=2")

    def test_sweep_needs_discrete_values(self) -> None:
        problem = only("train", "optimizer.lr=interval(0,1)", multirun=True)
        assert "list the values" in problem
        assert "choose another hydra/sweeper" in problem
        for values in ("range(3,3)", "range(1,5,0)", "glob(hug*)"):
            first, *others = problems("train", f"model={values}", "optimizer.lr=-1", multirun=True)
            assert first == f"model: the sweep has no values (got {values})"
            assert len(others) == 1, "other mistakes are reported too"

    def test_sweep_finds_options_in_a_further_folder(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "mine.yaml").write_text("embedding_dim: 8\nhidden_dims: [8]\n")
        folder = f"hydra.searchpath=[{tmp_path}]"
        checked = check("train", [folder, "model=mine,tiny"], multirun=True)
        assert checked.config.model.embedding_dim == 8  # type: ignore[union-attr]
        assert folder in checked.lines

    @pytest.fixture
    def _plugin(self) -> None:
        """A sweeper that Hydra finds as hydra/sweeper=plugin; it is never run here."""
        node = {"_target_": "some_package.Sweeper", "params": {"optimizer.weight_decay": "interval(0,0.1)"}}
        ConfigStore.instance().store(group="hydra/sweeper", name="plugin", node=node, provider="test")

    @pytest.mark.usefixtures("_plugin")
    def test_sweeper_plugin_takes_what_hydra_parses(self) -> None:
        lines = [
            "hydra/sweeper=plugin",
            "optimizer.lr=tag(log,interval(1e-4,1e-2))",
            "model=choice(tiny,small)",
            "seed=range(1,4)",
            "batching.batch_size=4",
        ]
        checked = check("train", lines, multirun=True)
        assert checked.num_jobs is None
        assert len(checked.jobs) == 4, "each value once"
        assert checked.jobs[0][1:] == ["optimizer.lr=0.0001", "model=tiny", "seed=1", "batching.batch_size=4"]

    @pytest.mark.usefixtures("_plugin")
    def test_values_for_a_sweeper_plugin_are_checked(self) -> None:
        lines = ["hydra/sweeper=plugin", "optimizer.lr=interval(-1,1)", "model=choice(tiny,smal)", "sed=interval(0,1)"]
        first, second, third = sorted(problems("train", *lines, multirun=True))
        assert first.startswith("model: unknown option (got smal); did you mean small?")
        assert second.startswith("optimizer.lr: must be above 0 (got -1.0)")
        assert third.startswith("sed: unknown setting; did you mean seed?")

    def test_multirun_mode_can_be_an_override(self) -> None:
        assert check("train", ["seed=1,2"], multirun=True).multirun
        assert len(check("train", ["seed=1", "hydra.mode=MULTIRUN"]).jobs) == 1
