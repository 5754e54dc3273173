"""Search spaces in Hydra's grammar."""

from importlib.resources import files
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lstm_lm.config.validation import check
from lstm_lm.errors import ConfigError
from lstm_lm.search.space import parse_space, read_spaces


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("small,medium", CategoricalDistribution(["small", "medium"])),
        ("choice(1e-3,3e-3)", CategoricalDistribution(["0.001", "0.003"])),
        ("[64],[64,64]", CategoricalDistribution(["[64]", "[64,64]"])),
        ("range(1,8,2)", IntDistribution(1, 7, step=2)),
        ("interval(0.1,0.5)", FloatDistribution(0.1, 0.5)),
        ("tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(1,4))", IntDistribution(1, 4)),
        ("tag(log,int(interval(16,512)))", IntDistribution(16, 512, log=True)),
    ],
)
def test_grammar(value: str, expected: optuna.distributions.BaseDistribution) -> None:
    space, fixed = parse_space([f"a.b={value}", "model=small"])
    assert space.distributions == {"a.b": expected}
    assert fixed == ["model=small"]


def test_a_trial_gets_one_value_of_each_setting() -> None:
    space, _ = parse_space(["model=small,medium", "optimizer.lr=interval(0.1,0.2)", "n=range(3,4)"])
    trial = optuna.create_study().ask()
    model, rate, number = space.suggest(trial)
    assert model in ("model=small", "model=medium")
    assert 0.1 <= float(rate.removeprefix("optimizer.lr=")) <= 0.2
    assert number == "n=3"


def test_a_grid_needs_lists() -> None:
    space, _ = parse_space(["model=small,medium", "n=range(1,4)"])
    assert {key: list(values) for key, values in space.grid().items()} == {"model": ["small", "medium"], "n": [1, 2, 3]}
    with pytest.raises(ConfigError, match="a grid needs a list of values"):
        parse_space(["lr=interval(0.1,0.2)"])[0].grid()


def test_every_mistake_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        parse_space(["a=interval(2,1)", "b=range(1,1)", "c=[", "d=tag(log,interval(0,1))"])
    assert [text.partition(":")[0] for text in error.value.problems] == ["a", "b", "c=[", "d"]


@pytest.mark.parametrize("name", sorted(file.name for file in (files("lstm_lm.configs") / "search").iterdir()))
def test_every_shipped_space_is_one_of_valid_settings(name: str) -> None:
    space, fixed = parse_space(read_spaces([f"search={name.removesuffix('.yaml')}"]))
    assert space.distributions
    assert fixed == []
    for example in space.examples():
        check("train", example)


def test_a_space_of_ones_own_and_single_settings_replace_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "lr.yaml").write_text("optimizer.lr: 1e-3,1e-2\nseed_of_mine: 1,2\n")
    assert read_spaces(["search=lr"], str(tmp_path)) == ["optimizer.lr=1e-3,1e-2", "seed_of_mine=1,2"]
    lines = read_spaces(["optimizer.lr=5,6", "search=[lr,model]", "optimizer.lr=1,2", "data=chat"], str(tmp_path))
    assert lines == ["optimizer.lr=1,2", "seed_of_mine=1,2", "model=tiny,small,medium", "data=chat"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"search: unknown option .got mine.; options are dropout, lr, lr_dropout, model"),
        ("- a", r"search/mine\.yaml: needs one line per setting"),
        ("optimizer: {lr: 1}", r"search/mine\.yaml: needs one line per setting"),
        ("a: [", r"search/mine\.yaml: cannot be read"),
    ],
)
def test_a_wrong_space_is_named(content: str | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    if content is not None:
        (tmp_path / "search" / "mine.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_spaces(["search=mine"], str(tmp_path))
