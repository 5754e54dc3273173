"""Time budgets: parsing, planned epochs, dropout scaling, and the callback that enforces them."""

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.small_models import small_network
from helpers.small_runs import optimizer_config, schedule_config
from torch.optim import Optimizer

from lstm_lm.nn.config import ModelConfig
from lstm_lm.training.budget import Scaling, parse_duration, planned_epochs, scale_dropouts, scaling
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.config import NO_EPOCH_LIMIT, TrainerConfig
from lstm_lm.training.optimizers import build_optimizer, rescale
from lstm_lm.training.schedules import build_schedule


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("8h", 28_800), ("1h30m", 5400), ("1.5h", 5400), ("1h1m1s", 3661), ("0.05s", 0.05)],
)
def test_valid_budget_is_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert TrainerConfig(budget=text).budget_seconds == pytest.approx(seconds)
    assert not TrainerConfig(budget=text).problems()


@pytest.mark.parametrize("text", ["", "60", "60min", "m", "0m", "-5m", "1d", "30m1h", "1h 30m", "nan", "1e3s"])
def test_invalid_budget_is_reported_with_a_remedy(text: str) -> None:
    (problem,) = TrainerConfig(budget=text).problems()
    assert problem == (
        f"budget: must be a duration above 0 with a unit (got {text!r}); for example 90s, 10m, 8h or 1h30m"
    )


def test_default_epoch_limit_applies_only_without_another_limit() -> None:
    assert TrainerConfig().epoch_limit == 10
    assert TrainerConfig(budget="1h").epoch_limit == TrainerConfig(max_steps=5).epoch_limit == NO_EPOCH_LIMIT
    assert TrainerConfig(budget="1h", max_epochs=3).epoch_limit == 3


def test_reference_steps_need_reference_epochs() -> None:
    (problem,) = TrainerConfig(reference_steps=100).problems()
    assert problem.startswith("reference_steps: needs trainer.reference_epochs (got 100 without)")
    assert not TrainerConfig(reference_steps=100, reference_epochs=2.0).problems()


def test_planned_epochs() -> None:
    # an epoch takes 100 s, a validation 25 s
    assert planned_epochs(1000.0, 10.0, 1000, 25.0, 1.0, 1.0) == pytest.approx(8.0)
    assert planned_epochs(1000.0, 10.0, 1000, 25.0, 1.0, 0.1) == pytest.approx(9.0)
    assert planned_epochs(1000.0, 10.0, 1000, 25.0, 0.25, 1.0) == pytest.approx(5.0)
    assert planned_epochs(1000.0, 10.0, 1000, 25.0, 1.0, 0.0) == pytest.approx(10.0)
    assert planned_epochs(50.0, 10.0, 1000, 0.0, 1.0, 0.1) == pytest.approx(0.5)


def test_dropout_factor_grows_with_the_epochs() -> None:
    factors = [scaling(epochs, 1.0, 10.0).dropout for epochs in (0.1, 1.0, 5.0, 10.0, 20.0, 40.0, 750.0)]
    assert factors == sorted(factors)
    assert factors[1:4] == pytest.approx([math.sqrt(0.1), math.sqrt(0.5), 1.0])
    assert factors[-2:] == [2.0, 2.0]


def test_scaling_to_the_reference_changes_nothing() -> None:
    assert scaling(8.0, 7776.0, 8.0, 7776) == Scaling()
    assert scaling(2.0, 100.0, 8.0) == Scaling(dropout=0.5)


def test_learning_rate_and_decay_depend_on_the_steps_and_dropout_on_the_epochs() -> None:
    short, long = scaling(4.0, 1000.0, 8.0, 8000), scaling(4.0, 8000.0, 8.0, 8000)
    assert (short.lr, short.weight_decay) == pytest.approx((2.0, 8.0**0.5))
    assert (long.lr, long.weight_decay) == (1.0, 1.0)
    assert short.dropout == long.dropout == pytest.approx(0.5**0.5)
    # of the whole run: the sum of learning rate times decay
    for steps in (10, 400, 8000):
        by = scaling(1.0, steps, 8.0, 8000)
        assert steps * by.lr * by.weight_decay == pytest.approx(8000 * (steps / 8000) ** (1 / 6))
    decays = [scaling(1.0, 8000.0, 8.0, 8000, 0.016 * rarity).weight_decay for rarity in (0.1, 1.0, 4.0, 100.0)]
    assert decays == pytest.approx([0.75, 1.0, 2.0, 2.5])
    shortest = scaling(1.0, 10.0, 8.0, 8000)
    assert (shortest.lr, shortest.row_memory) == (3.0, 0.05)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "plateau", "torch"])
def test_optimizer_is_rescaled_in_the_middle_of_a_run(schedule: str) -> None:
    options = {"warmup_fraction": 0.0} if schedule in ("cosine", "constant") else {}
    config = schedule_config(schedule, **options)
    if schedule == "torch":
        config = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.9}

    def rates(by: Scaling) -> tuple[list[float], Optimizer]:
        optimizer = build_optimizer(optimizer_config("row_adamw", lr=0.1, weight_decay=0.2), small_network())
        scheduler = build_schedule(config, optimizer, lambda: 0.5)["scheduler"]
        rescale(optimizer, scheduler, by)
        lr = [optimizer.param_groups[0]["lr"]]
        optimizer.step()
        for loss in (1.0, 2.0):
            scheduler.step(*([loss] if schedule == "plateau" else []))
            lr.append(optimizer.param_groups[0]["lr"])
        return lr, optimizer

    plain, _ = rates(Scaling())
    halved, optimizer = rates(Scaling(lr=0.5, weight_decay=3.0, row_memory=10.0))
    assert halved == pytest.approx([0.5 * lr for lr in plain])
    words, matrices, biases = optimizer.param_groups
    assert [group["weight_decay"] for group in (words, matrices, biases)] == pytest.approx([0.6, 0.6, 0.0])
    assert words["betas"] == pytest.approx((0.0, 0.9999))
    assert matrices["betas"] == (0.9, 0.99)
    back = Scaling(lr=0.5, weight_decay=3.0, row_memory=10.0)
    assert back.relative_to(back) == Scaling()


def test_dropouts_are_scaled_and_capped() -> None:
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


class SimulatedRun:
    """A run on a simulated clock: steps and validations take as long as a test says."""

    def __init__(self, time_budget: TimeBudget, monkeypatch: pytest.MonkeyPatch, **trainer: Any) -> None:
        from types import SimpleNamespace

        self.now = 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr(time_budget, "_probe", lambda *_: 0.0)
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(_skip_next_val=False, _should_accumulate=lambda: False))
        defaults = {"max_steps": -1, "max_epochs": -1, "current_epoch": 0, "is_last_batch": False}
        self.time_budget = time_budget
        self.trainer: Any = SimpleNamespace(
            val_check_batch=1,
            estimated_stepping_batches=math.inf,
            accumulate_grad_batches=1,
            **(defaults | trainer),
            global_step=0,
            should_stop=False,
            enable_validation=True,
            num_val_batches=[100],
            fit_loop=loop,
            strategy=SimpleNamespace(broadcast=lambda value: value),
        )
        time_budget.on_train_start(self.trainer, None)  # type: ignore[arg-type]

    def step(self, seconds: float) -> None:
        self.time_budget.on_train_batch_start(self.trainer)
        self.now += seconds
        self.trainer.global_step += 1
        self.time_budget.on_train_batch_end(self.trainer, None, None, None, 0)  # type: ignore[arg-type]

    def validate(self, seconds: float, after: float = 0.0) -> int:
        """Validate with 100 windows; returns how many were scored."""
        self.time_budget.on_validation_start(self.trainer, SimpleNamespace(device=torch.device("cpu")))  # type: ignore[arg-type]
        scored = 0
        with contextlib.suppress(StopIteration):
            for _ in range(100):
                self.time_budget.on_validation_batch_start(self.trainer)
                self.now += seconds / 100
                scored += 1
                self.time_budget.on_validation_batch_end()
        self.time_budget.on_validation_end(self.trainer, None)  # type: ignore[arg-type]
        self.now += after
        return scored

    def train(self, seconds: float) -> None:
        """Train in steps of so many seconds until the last validation."""
        while not self.trainer.should_stop:
            self.step(seconds)

    @property
    def validates(self) -> bool:
        return not self.trainer.fit_loop.epoch_loop._skip_next_val


def test_fraction_is_the_larger_of_steps_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimulatedRun(TimeBudget(100.0), monkeypatch)
    run.step(30.0)
    assert run.time_budget.fraction(10, 100) == pytest.approx(0.3)
    assert run.time_budget.fraction(50, 100) == pytest.approx(0.5)
    assert run.time_budget.fraction(50, math.inf) == pytest.approx(0.3)
    assert TimeBudget(None).fraction(50, 200) == 0.25
    resumed = TimeBudget(100.0)
    resumed.load_state_dict(run.time_budget.state_dict())
    assert resumed.elapsed() == 30.0
    assert resumed.fraction(0, math.inf) == pytest.approx(0.3)


def test_time_is_reserved_for_the_last_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    time_budget = TimeBudget(100.0)
    run = SimulatedRun(time_budget, monkeypatch)
    monkeypatch.setattr(time_budget, "_probe", lambda *_: 10.0)
    for _ in range(2):
        run.step(1.0)
    assert time_budget.training_deadline == 100.0
    run.step(1.0)
    assert time_budget.training_deadline == pytest.approx(87.0)  # estimated, not measured: plus 30 %
    run.validate(15.0, after=5.0)  # callbacks after a validation count towards its time
    run.step(1.0)
    assert time_budget.total_validation_time == pytest.approx(20.0)
    assert time_budget.training_deadline == pytest.approx(77.0)
    while not run.trainer.should_stop:
        run.step(1.0)
    assert time_budget.exhausted
    assert run.validates
    assert time_budget.elapsed() == pytest.approx(77.0)
    assert time_budget.fraction(0, math.inf) == 1.0


def test_validations_stay_within_max_val_fraction(monkeypatch: pytest.MonkeyPatch) -> None:
    time_budget = TimeBudget(1000.0, max_val_fraction=0.1)
    run = SimulatedRun(time_budget, monkeypatch)
    monkeypatch.setattr(time_budget, "_probe", lambda *_: 5.0)
    validated_at = []
    while not run.trainer.should_stop:
        run.step(10.0)
        if run.validates and not run.trainer.should_stop:
            validated_at.append(run.now)
            run.validate(5.0)
    assert 0.07 < 5.0 * len(validated_at) / 1000.0 <= 0.1
    assert validated_at[0] == 50.0
    assert validated_at[-1] < 990.0  # not just before the last one
    never = SimulatedRun(TimeBudget(1000.0, max_val_fraction=0.0), monkeypatch)
    never.time_budget.validation_time = 1.0
    never.step(500.0)
    assert not never.validates


def test_last_validation_always_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ({"max_steps": 4}, {"max_epochs": 1, "is_last_batch": True}):
        run = SimulatedRun(TimeBudget(100.0, max_val_fraction=0.0), monkeypatch, **limit)
        run.time_budget.validation_time = 1.0
        for _ in range(4):
            run.step(1.0)
        assert run.validates


def test_exhausted_budget_is_not_trained_further(monkeypatch: pytest.MonkeyPatch) -> None:
    first = SimulatedRun(TimeBudget(10.0), monkeypatch)
    first.step(10.0)
    assert first.time_budget.exhausted
    interrupted = TimeBudget(10.0)
    interrupted.load_state_dict(first.time_budget.state_dict())
    assert interrupted.exhausted  # its last validation is missing
    assert not interrupted.state_dict()["finished"]
    first.validate(1.0)
    resumed, raised = TimeBudget(10.0), TimeBudget(20.0)
    for time_budget in (resumed, raised):
        time_budget.load_state_dict(first.time_budget.state_dict())
    assert SimulatedRun(resumed, monkeypatch).trainer.should_stop
    assert not SimulatedRun(raised, monkeypatch).trainer.should_stop


def test_at_least_half_of_the_budget_is_training(monkeypatch: pytest.MonkeyPatch) -> None:
    time_budget = TimeBudget(100.0)
    run = SimulatedRun(time_budget, monkeypatch)
    monkeypatch.setattr(time_budget, "_probe", lambda *_: 1000.0)  # one validation takes ten budgets
    run.train(1.0)
    assert run.now == pytest.approx(50.0)
    # 50 s are left: the windows that fit, with the margin of an estimate
    assert run.validate(1000.0, after=4.0) == int(100 * 50 / 1300)
    assert run.now <= 100.0
    time_budget.on_train_end(run.trainer, None)  # type: ignore[arg-type]
    assert time_budget.validation_time == pytest.approx(1004.0)


def test_slow_setup_takes_nothing_from_the_half(monkeypatch: pytest.MonkeyPatch) -> None:
    time_budget = TimeBudget(100.0)
    with monkeypatch.context() as patch:
        patch.setattr("time.monotonic", lambda: -90.0)
        time_budget.start()
    run = SimulatedRun(time_budget, monkeypatch)
    run.train(1.0)
    assert run.now == pytest.approx(50.0)
    assert time_budget.elapsed() == pytest.approx(140.0)
    assert run.validate(1.0) == 100


def test_validation_that_becomes_20_times_slower_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    time_budget = TimeBudget(100.0)
    run = SimulatedRun(time_budget, monkeypatch)
    monkeypatch.setattr(time_budget, "_probe", lambda *_: 10.0)
    run.train(1.0)
    assert run.now == pytest.approx(87.0)
    scored = run.validate(200.0)
    assert run.now == pytest.approx(105.0, abs=2.1)  # the budget, 5 % and the window that it was in
    assert scored == pytest.approx(9, abs=1)
    # slower still: one window is scored whatever happens
    slow = SimulatedRun(TimeBudget(100.0), monkeypatch)
    slow.time_budget.validation_time = 10.0
    slow.train(1.0)
    assert slow.validate(100_000.0) == 1


def test_extra_validation_that_becomes_slower_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    time_budget = TimeBudget(1000.0, max_val_fraction=0.1)
    run = SimulatedRun(time_budget, monkeypatch)
    monkeypatch.setattr(time_budget, "_probe", lambda *_: 5.0)
    while not run.validates or run.now < 20.0:
        run.step(10.0)
    begin = run.now
    assert run.validate(100.0) == 10
    assert run.now - begin == pytest.approx(10.0)
    run.step(10.0)
    assert time_budget.total_validation_time == pytest.approx(10.0)
    assert time_budget.validation_time == pytest.approx(100.0)  # of all windows, at the new speed
    run.train(10.0)
    assert run.now - time_budget.total_validation_time >= 500.0
    assert run.validate(100.0) == 100  # it fits into the time that was kept for it
    assert run.now <= 1000.0


@pytest.mark.parametrize("slowdown", [1.0, 1.2, 3.0, 20.0, 400.0])
@pytest.mark.parametrize("max_val_fraction", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("estimate", [0.5, 20.0, 300.0])
def test_half_is_trained_and_the_run_ends_in_time_whatever_happens(
    slowdown: float, max_val_fraction: float, estimate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_budget = TimeBudget(100.0, max_val_fraction)
    run = SimulatedRun(time_budget, monkeypatch)
    monkeypatch.setattr(time_budget, "_probe", lambda *_: estimate)
    while not run.trainer.should_stop:
        run.step(0.5)
        if run.validates and not run.trainer.should_stop:
            run.validate(slowdown * estimate)
    window = slowdown * estimate / 100  # a window cannot be broken off
    assert run.now - time_budget.total_validation_time > 49.99
    run.validate(slowdown * estimate)
    assert run.now <= 110.0 + 2 * window + 0.5


def test_last_validation_that_was_interrupted_is_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = SimulatedRun(TimeBudget(100.0), monkeypatch, max_steps=4)
    first.time_budget.validation_time = 10.0
    first.train(1.0)
    resumed = TimeBudget(100.0)
    resumed.load_state_dict(first.time_budget.state_dict())
    run = SimulatedRun(resumed, monkeypatch, max_steps=4)
    assert run.validate(60.0) == 100  # an extra validation would be broken off at 20 s
    assert not resumed.exhausted


def test_validation_without_a_budget_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimulatedRun(TimeBudget(None), monkeypatch, max_steps=1)
    run.step(1.0)
    assert run.validate(1e6) == 100
