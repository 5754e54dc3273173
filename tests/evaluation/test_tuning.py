"""Tuning: it improves on the defaults, keeps given settings and prunes bad trials."""

from typing import Any

import numpy as np
import pytest
from helpers.small_streams import VOCABULARY, network, stream

from lstm_lm.errors import EvaluationError
from lstm_lm.evaluation.config import DEFAULTS, EvaluationConfig, checked_settings, resolve_settings
from lstm_lm.evaluation.dynamic import GradientRMS, gradient_rms
from lstm_lm.evaluation.stream import evaluate_stream
from lstm_lm.evaluation.tuning import MAX_TRIALS, tune

IDS = np.tile(stream(30), 12)


@pytest.fixture(scope="module")
def rms() -> GradientRMS:
    return gradient_rms(network(), stream(200, seed=7), VOCABULARY.eos_id, config("dynamic"))


def config(name: str, **settings: float) -> EvaluationConfig:
    return EvaluationConfig(name=name, window_length=9, gradient_windows=20, **settings)  # type: ignore[arg-type]


def test_tuned_settings_beat_the_defaults(rms: GradientRMS) -> None:
    stages: list[str] = []
    tuned = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic"), rms, lambda stage, *_: stages.append(stage))
    assert set(tuned) == {"lr", "decay"}
    before, after = (
        evaluate_stream(network(), IDS, VOCABULARY, config("dynamic"), settings, rms).loss
        for settings in (DEFAULTS, tuned)
    )
    assert after < before
    assert 3 <= len(set(stages)) <= MAX_TRIALS


def test_given_settings_stay_fixed(rms: GradientRMS) -> None:
    tuned = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic", lr=0.01), rms, lambda *_: None)
    assert tuned["lr"] == 0.01
    given = {"lr": 0.01, "decay": 0.1, "cache_theta": 0.5}
    tuned = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic_cache", **given), rms, lambda *_: None)
    assert given.items() <= tuned.items()
    assert set(tuned) == {*given, "cache_window", "cache_weight"}


def test_a_learning_rate_that_is_too_high_is_lowered(rms: GradientRMS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULTS, "lr", 2.0)
    tuned = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic"), rms, lambda *_: None)
    assert 0.0 < tuned["lr"] < 1.0


def test_a_bad_trial_ends_early(rms: GradientRMS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULTS, "lr", 2.0)
    scored: dict[str, int] = {}
    tune(network(), IDS, VOCABULARY.eos_id, config("dynamic"), rms, lambda stage, done, _: scored.update({stage: done}))
    first, second = list(scored)[:2]
    assert scored[first] == len(IDS), "without updates"
    assert scored[second] < len(IDS), "with updates that are too large"


def test_lr_is_0_if_no_learning_rate_helps(rms: GradientRMS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULTS, "lr", 1e25)
    tuned = tune(network(), IDS, VOCABULARY.eos_id, config("dynamic_cache"), rms, lambda *_: None)
    assert tuned["lr"] == 0.0
    with pytest.raises(EvaluationError, match=r"diverge on valid with evaluation.lr=1e\+38; lower it"):
        tune(network(), IDS, VOCABULARY.eos_id, config("dynamic", lr=1e38), rms, lambda *_: None)


def test_tune_tokens_limits_the_split(rms: GradientRMS) -> None:
    totals: set[int] = set()
    short = config("dynamic", tune_tokens=50)
    tune(network(), IDS, VOCABULARY.eos_id, short, rms, lambda _stage, _done, total: totals.add(total))
    assert totals == {50}


def test_given_overrides_tuned_overrides_default() -> None:
    values, sources = resolve_settings(config("dynamic_cache", lr=0.5), {"lr": 0.1, "decay": 0.2})
    assert (values["lr"], values["decay"], values["cache_theta"]) == (0.5, 0.2, DEFAULTS["cache_theta"])
    assert (sources["lr"], sources["decay"], sources["cache_theta"]) == ("given", "tuned", "default")
    assert resolve_settings(config("static"), {}) == ({}, {})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"name": "cache", "cache_weight": 1.5}, "cache_weight: must be from 0 to 1 (got 1.5)"),
        ({"name": "cache", "cache_theta": float("nan")}, "cache_theta: must be a finite number (got nan)"),
        ({"name": "cache", "cache_window": -1}, "cache_window: must not be negative"),
        ({"name": "cache", "batch_size": 4}, "batch_size: cache evaluates the split as one stream (got 4)"),
        ({"name": "cache", "lr": 0.1}, "lr: not used by cache (got 0.1); used by dynamic, dynamic_cache"),
        ({"name": "static", "cache_weight": 0.1}, "cache_weight: not used by static"),
        ({"name": "cache", "window_length": 40}, "window_length: not used by cache (got 40); used by static, keyboard"),
        ({"name": "mixture", "ngram": True, "window_length": 40}, "window_length: not used by mixture+ngram (got 40)"),
        ({"name": "dynamic", "decay": -0.1}, "decay: must be from 0 to 1"),
        ({"name": "dynamic", "gradient_windows": 0}, "gradient_windows: must be at least 1"),
        ({"name": "dynamic", "tune_tokens": -1}, "tune_tokens: must not be negative"),
    ],
)
def test_invalid_setting_is_reported(settings: dict[str, float], problem: str) -> None:
    (actual,) = EvaluationConfig(**settings).problems()  # type: ignore[arg-type]
    assert actual.startswith(problem)


@pytest.mark.parametrize(
    "settings",
    [{"name": "static"}, {"name": "keyboard"}, {"name": "dynamic_cache"}, {"name": "mixture", "dynamic": True}],
)
def test_window_length_is_accepted_where_it_is_used(settings: dict[str, Any]) -> None:
    assert not EvaluationConfig(**settings, window_length=40).problems()


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
def test_invalid_tuned_settings_are_rejected(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"tuned.{name}"):
        checked_settings(name, settings)
    assert checked_settings("cache", {"cache_window": 10, "cache_theta": 1}) == {"cache_window": 10, "cache_theta": 1.0}
