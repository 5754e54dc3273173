"""A budget in time: how it is read, what follows from it, and a clock that keeps to it."""

import math
from typing import Any

import pytest
from small_models import small_network

from lstm_lm.nn.config import ModelConfig
from lstm_lm.training.budget import dropout_factor, parse_budget, planned_epochs, scale_dropouts
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.config import NO_EPOCH_LIMIT, TrainerConfig


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("8h", 28_800), ("1h30m", 5400), ("1.5h", 5400), ("1h1m1s", 3661), ("0.05s", 0.05)],
)
def test_a_budget_is_read(text: str, seconds: float) -> None:
    assert parse_budget(text) == pytest.approx(seconds)
    assert TrainerConfig(budget=text).budget_seconds == pytest.approx(seconds)
    assert not TrainerConfig(budget=text).problems()


@pytest.mark.parametrize("text", ["", "60", "60min", "m", "0m", "-5m", "1d", "30m1h", "1h 30m", "nan", "1e3s"])
def test_what_is_no_time_is_told_with_the_remedy(text: str) -> None:
    (problem,) = TrainerConfig(budget=text).problems()
    assert problem == (
        f"budget: must be a time above 0 with its unit (got {text!r}); write it as in 90s, 10m, 8h or 1h30m"
    )


def test_epochs_end_a_run_only_where_nothing_else_does() -> None:
    assert TrainerConfig().epoch_limit == 10
    assert TrainerConfig(budget="1h").epoch_limit == TrainerConfig(max_steps=5).epoch_limit == NO_EPOCH_LIMIT
    assert TrainerConfig(budget="1h", max_epochs=3).epoch_limit == 3


def test_epochs_that_fit_into_a_time() -> None:
    # an epoch of 100 s, and a validation of 25 s after each
    assert planned_epochs(1000.0, 10.0, 1000, 25.0, 1.0, 1.0) == pytest.approx(8.0)
    assert planned_epochs(1000.0, 10.0, 1000, 25.0, 1.0, 0.1) == pytest.approx(9.0)
    assert planned_epochs(1000.0, 10.0, 1000, 25.0, 0.25, 1.0) == pytest.approx(5.0)
    assert planned_epochs(1000.0, 10.0, 1000, 25.0, 1.0, 0.0) == pytest.approx(10.0)
    assert planned_epochs(50.0, 10.0, 1000, 0.0, 1.0, 0.1) == pytest.approx(0.5)


def test_more_epochs_take_more_dropout() -> None:
    factors = [dropout_factor(epochs, 10.0) for epochs in (0.1, 1.0, 5.0, 10.0, 20.0, 40.0, 750.0)]
    assert factors == sorted(factors)
    assert factors[1:4] == pytest.approx([math.sqrt(0.1), math.sqrt(0.5), 1.0])
    assert factors[-2:] == [2.0, 2.0]


def test_every_dropout_is_scaled_and_none_becomes_too_much() -> None:
    config = ModelConfig(16, [24, 16], True, 0.1, 0.2, 0.3, 0.4, 0.0)
    scaled = scale_dropouts(config, 2.0)
    assert scaled == ModelConfig(16, [24, 16], True, 0.2, 0.4, 0.6, 0.75, 0.0)
    model = small_network(config)
    model.set_dropouts(scaled)
    assert model.input_dropout.probability == 0.4
    assert model.hidden_dropout.probability == 0.6
    assert model.output_dropout.probability == 0.75
    assert model.config.embedding_dropout == 0.2
    model.set_dropouts(ModelConfig(16, [24, 16], True, weight_dropout=0.5))
    assert [layer.weight_dropout for layer in model.layers] == [0.5, 0.5]


class Steps:
    """A run whose time is told, not measured: one step and one validation as long as wished."""

    def __init__(self, clock: TimeBudget, monkeypatch: pytest.MonkeyPatch, **trainer: Any) -> None:
        from types import SimpleNamespace

        self.now = 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr(clock, "_probe", lambda *_: 0.0)
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(_skip_next_val=False))
        defaults = {"max_steps": -1, "max_epochs": -1, "current_epoch": 0, "is_last_batch": False}
        self.clock = clock
        self.trainer: Any = SimpleNamespace(
            **(defaults | trainer),
            global_step=0,
            should_stop=False,
            enable_validation=True,
            fit_loop=loop,
            strategy=SimpleNamespace(broadcast=lambda value: value),
        )
        clock.on_train_start(self.trainer, None)  # type: ignore[arg-type]

    def step(self, seconds: float) -> None:
        self.clock.on_train_batch_start()
        self.now += seconds
        self.trainer.global_step += 1
        self.clock.on_train_batch_end(self.trainer, None, None, None, 0)  # type: ignore[arg-type]

    def validate(self, seconds: float, after: float = 0.0) -> None:
        self.clock.on_validation_start(self.trainer, None)  # type: ignore[arg-type]
        self.now += seconds
        self.clock.on_validation_end(self.trainer, None)  # type: ignore[arg-type]
        self.now += after

    @property
    def validates(self) -> bool:
        return not self.trainer.fit_loop.epoch_loop._skip_next_val


def test_clock_goes_by_steps_or_time_whichever_is_further(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Steps(TimeBudget(100.0), monkeypatch)
    run.step(30.0)
    assert run.clock.fraction(10, 100) == pytest.approx(0.3)
    assert run.clock.fraction(50, 100) == pytest.approx(0.5)
    assert run.clock.fraction(50, math.inf) == pytest.approx(0.3)
    assert TimeBudget(None).fraction(50, 200) == 0.25
    resumed = TimeBudget(100.0)
    resumed.load_state_dict(run.clock.state_dict())
    assert resumed.elapsed() == 30.0
    assert resumed.fraction(0, math.inf) == pytest.approx(0.3)


def test_time_is_kept_back_for_the_last_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = TimeBudget(100.0)
    run = Steps(clock, monkeypatch)
    monkeypatch.setattr(clock, "_probe", lambda *_: 10.0)
    for _ in range(2):
        run.step(1.0)
    assert clock.learning_seconds == 100.0
    run.step(1.0)
    assert clock.learning_seconds == pytest.approx(87.0)  # not measured yet: a third more
    run.validate(15.0, after=5.0)  # what follows a validation belongs to it
    run.step(1.0)
    assert clock.validation_seconds == pytest.approx(20.0)
    assert clock.learning_seconds == pytest.approx(77.0)
    while not run.trainer.should_stop:
        run.step(1.0)
    assert clock.exhausted
    assert run.validates
    assert clock.elapsed() == pytest.approx(77.0)
    assert clock.fraction(0, math.inf) == 1.0


def test_validations_keep_to_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = TimeBudget(1000.0, max_val_fraction=0.1)
    run = Steps(clock, monkeypatch)
    monkeypatch.setattr(clock, "_probe", lambda *_: 5.0)
    made = []
    while not run.trainer.should_stop:
        run.step(10.0)
        if run.validates and not run.trainer.should_stop:
            made.append(run.now)
            run.validate(5.0)
    assert 0.07 < 5.0 * len(made) / 1000.0 <= 0.1
    assert made[0] == 50.0
    assert made[-1] < 990.0  # not just before the last one
    never = Steps(TimeBudget(1000.0, max_val_fraction=0.0), monkeypatch)
    never.clock.validation_time = 1.0
    never.step(500.0)
    assert not never.validates


def test_the_last_validation_is_made_whatever_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for ending in ({"max_steps": 4}, {"max_epochs": 1, "is_last_batch": True}):
        run = Steps(TimeBudget(100.0, max_val_fraction=0.0), monkeypatch, **ending)
        run.clock.validation_time = 1.0
        for _ in range(4):
            run.step(1.0)
        assert run.validates


def test_a_budget_that_is_used_up_is_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Steps(TimeBudget(10.0), monkeypatch)
    first.step(10.0)
    assert first.clock.exhausted
    broken_off = TimeBudget(10.0)
    broken_off.load_state_dict(first.clock.state_dict())
    assert not Steps(broken_off, monkeypatch).trainer.should_stop  # its last validation is still to come
    first.validate(1.0)
    resumed, raised = TimeBudget(10.0), TimeBudget(20.0)
    for clock in (resumed, raised):
        clock.load_state_dict(first.clock.state_dict())
    assert Steps(resumed, monkeypatch).trainer.should_stop
    assert not Steps(raised, monkeypatch).trainer.should_stop
