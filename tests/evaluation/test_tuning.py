"""Tuning: it ends at better settings than it began with, keeps given ones, and gives up what falls behind."""

import numpy as np
import pytest
from small_streams import VOCABULARY, network, stream

from lstm_lm.errors import EvaluationError
from lstm_lm.evaluation.config import DEFAULTS, EvaluationConfig, checked_settings, resolve_settings
from lstm_lm.evaluation.dynamic import GradientRMS, evaluate_dynamic, gradient_rms
from lstm_lm.evaluation.tuning import MOST_TRIALS, tune

IDS = np.tile(stream(30), 12)


@pytest.fixture(scope="module")
def usual() -> GradientRMS:
    return gradient_rms(network(), stream(200, seed=7), VOCABULARY.eos_id, config("dynamic"))


def config(name: str, **settings: float) -> EvaluationConfig:
    return EvaluationConfig(name=name, window_length=9, gradient_windows=20, **settings)  # type: ignore[arg-type]


def test_dynamic_settings_are_better_than_the_defaults(usual: GradientRMS) -> None:
    stages: list[str] = []
    found = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic"), usual, lambda stage, *_: stages.append(stage))
    assert set(found) == {"lr", "decay"}
    begun, ended = (
        evaluate_dynamic(network(), IDS, VOCABULARY, config("dynamic"), settings, usual).loss
        for settings in (DEFAULTS, found)
    )
    assert ended < begun
    assert 3 <= len(set(stages)) <= MOST_TRIALS


def test_given_settings_stay(usual: GradientRMS) -> None:
    found = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic", lr=0.01), usual, lambda *_: None)
    assert found["lr"] == 0.01
    given = {"lr": 0.01, "decay": 0.1, "cache_theta": 0.5}
    found = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic_cache", **given), usual, lambda *_: None)
    assert given.items() <= found.items()
    assert set(found) == {*given, "cache_window", "cache_weight"}


def test_a_rate_that_is_far_too_high_is_lowered(usual: GradientRMS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULTS, "lr", 2.0)
    found = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic"), usual, lambda *_: None)
    assert 0.0 < found["lr"] < 1.0


def test_where_learning_does_not_help_the_weights_stay(usual: GradientRMS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULTS, "lr", 1e25)
    found = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic_cache"), usual, lambda *_: None)
    assert found["lr"] == 0.0
    with pytest.raises(EvaluationError, match=r"diverge on valid with evaluation.lr=1e\+38; give a lower one"):
        tune(network(), IDS, VOCABULARY.eos_id, config("dynamic", lr=1e38), usual, lambda *_: None)


def test_only_the_first_tokens_are_read(usual: GradientRMS) -> None:
    totals: set[int] = set()
    short = config("dynamic", tune_tokens=50)
    tune(network(), IDS, VOCABULARY.eos_id, short, usual, lambda *told: totals.add(told[2]))
    assert totals == {50}


def test_given_before_tuned_before_default() -> None:
    values, sources = resolve_settings(config("dynamic_cache", lr=0.5), {"lr": 0.1, "decay": 0.2})
    assert (values["lr"], values["decay"], values["cache_theta"]) == (0.5, 0.2, DEFAULTS["cache_theta"])
    assert (sources["lr"], sources["decay"], sources["cache_theta"]) == ("given", "tuned", "default")
    assert resolve_settings(config("static"), {}) == ({}, {})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"name": "cache", "cache_weight": 1.5}, "cache_weight: must be from 0 to 1 (got 1.5)"),
        ({"name": "cache", "cache_theta": float("nan")}, "cache_theta: must be from 0 to 100"),
        ({"name": "cache", "cache_window": -1}, "cache_window: must not be negative"),
        ({"name": "cache", "batch_size": 4}, "batch_size: cache reads the split as one stream (got 4)"),
        ({"name": "cache", "lr": 0.1}, "lr: cache has no use for it (got 0.1); it belongs to dynamic, dynamic_cache"),
        ({"name": "static", "cache_weight": 0.1}, "cache_weight: static has no use for it"),
        ({"name": "dynamic", "decay": -0.1}, "decay: must be from 0 to 1"),
        ({"name": "dynamic", "gradient_windows": 0}, "gradient_windows: must be at least 1"),
        ({"name": "dynamic", "tune_tokens": -1}, "tune_tokens: must not be negative"),
    ],
)
def test_a_wrong_setting_is_told(settings: dict[str, float], problem: str) -> None:
    (found,) = EvaluationConfig(**settings).problems()  # type: ignore[arg-type]
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cache", {"lr": 0.1}),
        ("cache", {"cache_window": 10.5}),
        ("cache", {"cache_theta": "much"}),
        ("cache", {"cache_weight": 7}),
        ("other", {"lr": 0.1}),
    ],
)
def test_settings_that_somebody_broke_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"tuned.{name}"):
        checked_settings(name, settings)
    assert checked_settings("cache", {"cache_window": 10, "cache_theta": 1}) == {"cache_window": 10, "cache_theta": 1.0}
