"""A field declares its bounds once: what is wrong with a value follows, and OmegaConf takes the class as a schema."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from omegaconf import OmegaConf

from lstm_lm.settings import Declaration, Settings, setting


@dataclass
class Part(Settings):
    rate: float = setting(1e-3, gt=0, help="A rate.")
    share: float = setting(0.5, ge=0, le=1, special={0: "off"}, help="A share.")
    decay: float = setting(0.9, ge=0, lt=1, help="A decay.")
    heat: float = setting(1.0, gt=0, le=100, remedy="use strategy=greedy", help="A temperature.")
    steps: int = setting(-1, ge=1, special={-1: "no limit"}, help="A number of steps.")
    seed: int | None = setting(None, ge=0, help="A seed.")
    kind: str = setting("plain", choices=("plain", "fancy"), help="A kind.")
    widths: list[int] = setting([200, 100], ge=1, help="Widths.")
    names: dict[str, int] = setting({}, help="Numbers by name.")
    bare: float = 1.0

    def conflicts(self) -> list[str]:
        return ["rate: is too high for fancy"] if self.kind == "fancy" else []


@dataclass
class Whole(Settings):
    part: Part = field(default_factory=Part)
    optional: Part | None = None
    parts: dict[str, Part] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("rate", 0.0, "must be above 0 (got 0.0); try 0.001"),
        ("rate", float("inf"), "must be a finite number (got inf); try 0.001"),
        ("share", 2.0, "must be from 0 to 1 (got 2.0); 0 is off"),
        ("decay", 1.0, "must be in [0, 1) (got 1.0); try 0.9"),
        ("decay", float("nan"), "must be a finite number (got nan); try 0.9"),
        ("heat", 101.0, "must be above 0 and at most 100 (got 101.0); use strategy=greedy"),
        ("steps", 0, "must be at least 1 (got 0); -1 is no limit"),
        ("seed", -1, "must not be negative (got -1)"),
        ("kind", "fanci", "unknown (got 'fanci'); did you mean fancy?"),
        ("kind", "x", "unknown (got 'x'); use one of plain, fancy"),
        ("widths", [5, 0], "each must be at least 1 (got [5, 0]); try [200,100]"),
        ("bare", float("nan"), "must be a finite number (got nan); try 1.0"),
    ],
)
def test_invalid_value_is_reported_with_a_remedy(name: str, value: Any, problem: str) -> None:
    assert Part(**{name: value}).problems() == [f"{name}: {problem}"]


def test_defaults_bounds_and_special_values_are_valid() -> None:
    assert Part().problems() == []
    assert Part(share=1.0, decay=0.0, heat=100.0, steps=1, seed=0, widths=[]).problems() == []


def test_nested_problems_have_their_path() -> None:
    bad = Part(rate=-1.0)
    assert [problem.partition(":")[0] for problem in Whole(bad, bad, {"a": bad}).problems()] == [
        "part.rate",
        "optional.rate",
        "parts.a.rate",
    ]


def test_conflict_of_a_setting_that_is_wrong_itself_is_left_out() -> None:
    assert Part(kind="fancy").problems() == ["rate: is too high for fancy"]
    (problem,) = Part(kind="fancy", rate=0.0).problems()
    assert problem.startswith("rate: must be above 0")


def test_list_default_is_not_shared() -> None:
    Part().widths.append(0)
    assert Part().widths == [200, 100]


def test_omegaconf_takes_the_class_as_a_schema() -> None:
    config = OmegaConf.merge(OmegaConf.structured(Whole), {"part": {"rate": 2, "widths": [7]}, "parts": {"a": {}}})
    built = OmegaConf.to_object(config)
    assert built == Whole(Part(rate=2.0, widths=[7]), parts={"a": Part()})


@pytest.mark.parametrize(
    ("declaration", "bounds"),
    [
        (Declaration("", gt=0, lt=1), "above 0 and below 1"),
        (Declaration("", lt=2), "below 2"),
        (Declaration("", le=2), "at most 2"),
        (Declaration(""), ""),
    ],
)
def test_bounds_in_words(declaration: Declaration, bounds: str) -> None:
    assert declaration.bounds() == bounds
