"""Every shipped YAML composes, and validation gives the same config as Hydra."""

from importlib import resources
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path

import pytest
from hydra import compose
from omegaconf import OmegaConf

from lstm_lm.cli.command_help import group_options
from lstm_lm.config.compose import CONFIG_PACKAGE, config_loader, to_dataclass
from lstm_lm.config.validation import check
from lstm_lm.training.config import TrainConfig

TRAIN_GROUPS = (
    "data",
    "batching",
    "model",
    "loss",
    "optimizer",
    "schedule",
    "averaging",
    "trainer",
    "callbacks",
    "logger",
    "sampling",
)
CONFIGS = Path(__file__).parents[2] / "configs"
EXTRA = {
    "text_files": ["data.dir=corpus"],
    "text_file": ["data.file=corpus.txt"],
    "hub": ["data.hub_path=a/b"],
    "own": ["data.lines=a.b"],
    "keyboard_large": ["init_from=."],
}


def _option_combinations() -> list[list[str]]:
    """Command lines that together choose every option of every group at least once."""
    missing = {option for option in ("mlflow", "wandb") if find_spec(option) is None}
    columns = [
        [f"{group}={option}" for option in group_options(group) if option not in missing] for group in TRAIN_GROUPS
    ]
    return [[choice for choice in row if choice] for row in zip_longest(*columns)]


def compose_with_hydra(command: str, lines: list[str]) -> object:
    with config_loader():
        return to_dataclass(compose(command, lines))


@pytest.mark.parametrize("lines", _option_combinations(), ids=lambda lines: lines[0])
def test_every_option_is_valid(lines: list[str]) -> None:
    lines = [*lines, *(line for choice in lines for line in EXTRA.get(choice.partition("=")[2], []))]
    assert check("train", lines).config == compose_with_hydra("train", lines)


@pytest.mark.parametrize("experiment", group_options("experiment"))
def test_every_experiment_is_valid(experiment: str) -> None:
    lines = [f"experiment={experiment}", *EXTRA.get(experiment, [])]
    assert check("train", lines).config == compose_with_hydra("train", lines)


@pytest.mark.parametrize("evaluation", group_options("evaluation"))
@pytest.mark.parametrize("data", [[], ["data=text_files", "data.dir=corpus"], ["data=python_docs"]])
def test_eval_is_valid_with_and_without_a_corpus(evaluation: str, data: list[str]) -> None:
    lines = ["checkpoint=best.ckpt", f"evaluation={evaluation}", *data]
    config = check("eval", lines).config
    assert config == compose_with_hydra("eval", lines)
    assert (config.data is None) == (not data)  # type: ignore[union-attr]


@pytest.mark.parametrize("export", group_options("export"))
@pytest.mark.parametrize("sampling", [[], ["sampling=greedy"]])
def test_every_export_is_valid(export: str, sampling: list[str]) -> None:
    lines = ["checkpoint=best.ckpt", "out=bundle", f"export={export}", *sampling]
    assert check("export", lines).config == compose_with_hydra("export", lines)


def test_every_shipped_sampling_option_is_a_preset() -> None:
    config = check("train", []).config
    assert isinstance(config, TrainConfig)
    assert sorted(config.presets) == group_options("sampling")


@pytest.mark.parametrize("group", ["data", "loss", "averaging", "evaluation"])
def test_option_file_has_the_name_it_selects(group: str) -> None:
    for option in group_options(group):
        settings = OmegaConf.load(CONFIGS / group / f"{option}.yaml")
        # a global file has its group's settings under the group's name
        assert settings.get(group, settings)["source" if group == "data" else "name"] == option


def test_every_yaml_starts_with_a_comment() -> None:
    for file in CONFIGS.rglob("*.yaml"):
        lines = file.read_text(encoding="utf-8").splitlines()
        assert any(line.startswith("# ") and not line.startswith("# @") for line in lines[:3]), file


def test_installed_configs_are_the_shipped_ones() -> None:
    installed = resources.files(CONFIG_PACKAGE) / "experiment" / "wikitext2_60min.yaml"
    assert installed.read_text(encoding="utf-8") == (CONFIGS / "experiment" / "wikitext2_60min.yaml").read_text(
        encoding="utf-8"
    )


class TestPrecedence:
    def test_group_overrides_schema(self) -> None:
        assert check("train", ["model=tiny"]).config.model.embedding_dim == 64  # type: ignore[union-attr]

    def test_experiment_overrides_groups(self) -> None:
        config = check("train", ["experiment=wikitext2_60min", "optimizer=adamw"]).config
        assert config.optimizer["lr"] == 4e-3  # type: ignore[union-attr]
        assert check("train", ["optimizer=adamw"]).config.optimizer["lr"] == 1e-3  # type: ignore[union-attr]

    def test_optimizer_can_select_averaging_and_command_line_can_change_it(self) -> None:
        averagings = [
            check("train", ["optimizer=asgd", *lines]).config.averaging.name  # type: ignore[union-attr]
            for lines in ([], ["averaging=ema"], ["experiment=quickstart"])
        ]
        assert averagings == ["polyak", "ema", "polyak"]

    def test_command_line_overrides_experiment(self) -> None:
        config = check("train", ["optimizer.lr=7", "experiment=baseline", "model=tiny"]).config
        assert isinstance(config, TrainConfig)
        assert config.optimizer["lr"] == 7
        assert config.model.hidden_dims == [64]

    def test_custom_experiment(self, tmp_path: object) -> None:
        folder = tmp_path / "experiment"  # type: ignore[operator]
        folder.mkdir()
        (folder / "mine.yaml").write_text(
            "# @package _global_\ndefaults:\n  - override /model: tiny\noptimizer:\n  lr: 0.5\n"
        )
        lines = ["experiment=mine", "loss=sampled_softmax"]
        for given in ({"config_dir": str(tmp_path)}, {}):
            own = [] if given else [f"hydra.searchpath=[{tmp_path}]"]
            config = check("train", [*lines, *own], **given).config
            assert isinstance(config, TrainConfig)
            assert (config.optimizer["lr"], config.model.embedding_dim) == (0.5, 64)


def test_dictionary_sets_several_values() -> None:
    config = check("train", ["model={embedding_dim:100,hidden_dims:[100]}"]).config
    assert isinstance(config, TrainConfig)
    assert (config.model.embedding_dim, config.model.hidden_dims) == (100, [100])


def test_custom_preset() -> None:
    lines = ["+sampling@presets.mine=creative", "presets.mine.top_k=5"]
    config = check("train", lines).config
    assert isinstance(config, TrainConfig)
    assert config == compose_with_hydra("train", lines)
    assert config.presets["mine"].top_k == 5
