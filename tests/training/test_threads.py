"""Format and number of threads are chosen by the time of training steps, again when the machine changes."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import ConfigFactory

from lstm_lm.data.encoding import load_corpus
from lstm_lm.errors import TrainingError
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.training import step_timing
from lstm_lm.training.callbacks.thread_selection import ThreadPolicy, thread_counts
from lstm_lm.training.config import TrainerConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.run import train
from lstm_lm.training.step_timing import StepWay, choose_way, fastest

IDLE, BUSY = {1: 0.24, 2: 0.157}, {1: 0.24, 2: 0.43}  # seconds of a step, measured on two cores


class Machine:
    """A machine whose steps take the seconds of ``seconds``, by number of threads; a test may replace it."""

    def __init__(self, policy: ThreadPolicy, seconds: dict[int, float]) -> None:
        self.policy = policy
        self.seconds = seconds
        self.used: list[int] = []

    def run(self, seconds: float) -> float:
        """Train for some time; returns the number of steps."""
        left, steps = seconds, 0
        while left > 0.0:
            threads = self.policy.next_threads
            self.used.append(threads)
            self.policy.add(64 * 35, self.seconds[threads])
            left, steps = left - self.seconds[threads], steps + 1
        return steps


def test_beside_a_busy_process_one_thread_trains_and_both_when_it_ends() -> None:
    machine = Machine(ThreadPolicy([1, 2], 2), IDLE)
    assert machine.run(600.0) > 0.99 * 600.0 / IDLE[2]
    machine.seconds = BUSY
    assert machine.run(600.0) > 0.98 * 600.0 / BUSY[1]
    assert machine.policy.threads == 1
    machine.seconds = IDLE
    machine.run(130.0)  # at most two minutes until the next trial
    assert machine.policy.threads == 2
    assert machine.run(600.0) > 0.99 * 600.0 / IDLE[2]


def test_reaction_to_a_busy_process_takes_seconds() -> None:
    machine = Machine(ThreadPolicy([1, 2], 2), IDLE)
    machine.run(300.0)
    machine.seconds = BUSY
    machine.run(15.0)
    assert machine.policy.threads == 1


@pytest.mark.parametrize("slower", [1.5, 5.0, 20.0])
def test_trials_cost_less_than_a_hundredth(slower: float) -> None:
    machine = Machine(ThreadPolicy([1, 2], 1), {1: 0.5, 2: 0.5 * slower})
    assert machine.run(7200.0) > 0.985 * 7200.0 / 0.5
    machine = Machine(ThreadPolicy([1, 2], 1), {1: 0.005, 2: 0.005 * slower})
    assert machine.run(600.0) > 0.985 * 600.0 / 0.005


def test_equal_speeds_change_nothing() -> None:
    machine = Machine(ThreadPolicy([1, 2], 2), {1: 0.2, 2: 0.2})
    machine.run(1000.0)
    assert machine.policy.threads == 2
    assert sum(one != other for one, other in pairwise(machine.used)) > 4, "it tries the other number"


def test_a_machine_that_becomes_slower_as_a_whole_is_not_tried_again_and_again() -> None:
    machine = Machine(ThreadPolicy([1, 2], 2), IDLE)
    machine.run(60.0)
    machine.seconds = {threads: 2.0 * seconds for threads, seconds in IDLE.items()}
    assert machine.run(100.0) > 0.95 * 100.0 / machine.seconds[2]
    assert machine.policy.threads == 2


def test_many_cores_are_searched_step_by_step() -> None:
    assert thread_counts(1) == [1]
    assert thread_counts(2) == [1, 2]
    assert thread_counts(12) == [1, 2, 4, 8, 12]
    machine = Machine(ThreadPolicy(thread_counts(16), 16), {1: 8.0, 2: 4.2, 4: 2.3, 8: 1.5, 16: 4.0})
    machine.run(900.0)
    assert machine.policy.threads == 8
    machine.seconds = {1: 8.0, 2: 4.2, 4: 2.3, 8: 3.5, 16: 6.0}
    machine.run(900.0)
    assert machine.policy.threads == 4


def test_bf16_must_be_clearly_faster() -> None:
    assert fastest({StepWay("fp32", 2): 1.0, StepWay("bf16", 2): 0.9}) == ("bf16", 2)
    assert fastest({StepWay("fp32", 2): 1.0, StepWay("bf16", 2): 0.97}) == ("fp32", 2)
    assert fastest({StepWay("fp32", 2): 1.0, StepWay("fp32", 1): 0.97, StepWay("bf16", 1): 0.96}) == ("fp32", 1)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads by default. The number is only recorded: real threads are slow beside other processes."""
    number = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: number.__setitem__(0, threads))


class SimulatedSteps:
    """The time passes in the network only.

    Args:
        seconds: Of a window of 240 tokens, by format and number of threads.
    """

    def __init__(self, seconds: dict[StepWay, float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.steps: list[StepWay] = []
        features: Callable[..., Any] = LSTMLanguageModel.features

        def timed(model: LSTMLanguageModel, input_ids: torch.Tensor, *args: Any) -> Any:
            if model.training:
                precision = "bf16" if torch.is_autocast_enabled("cpu") else "fp32"
                self.steps.append(StepWay(precision, torch.get_num_threads()))
                self.now += self.seconds[self.steps[-1]] * input_ids.numel() / 240
            with torch.autocast("cpu", enabled=False):  # this processor may not support bfloat16
                return features(model, input_ids, *args)

        monkeypatch.setattr(LSTMLanguageModel, "features", timed)
        monkeypatch.setattr(step_timing, "supports_bf16", lambda _: True)
        for name in ("monotonic", "perf_counter"):
            monkeypatch.setattr(f"time.{name}", lambda: self.now)


WAYS = {StepWay("fp32", 1): 0.4, StepWay("fp32", 2): 0.3, StepWay("bf16", 1): 0.2, StepWay("bf16", 2): 0.25}


@pytest.mark.usefixtures("two_cores")
class TestStepTiming:
    def test_the_step_of_the_run_is_timed_in_each_way(
        self, config: ConfigFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps = SimulatedSteps(WAYS, monkeypatch)
        automatic = config(trainer=TrainerConfig(max_epochs=1))
        corpus, before = load_corpus(automatic.data), torch.get_rng_state()
        assert choose_way(automatic, corpus, None) == ("bf16", 1)
        assert steps.steps == [*WAYS] * 4
        assert torch.equal(torch.get_rng_state(), before), "the run draws the same numbers with and without timing"
        assert choose_way(automatic, corpus, "fp32") == ("fp32", 2), "a resumed run keeps its format"
        for settings, way in (
            ({"threads": 2}, ("bf16", 2)),
            ({"precision": "fp32"}, ("fp32", 2)),
            ({"precision": "fp32", "threads": 2}, ("fp32", 2)),
            ({"precision": "bf16", "devices": 2}, ("bf16", 2)),
        ):
            fixed = replace(automatic, trainer=TrainerConfig(max_epochs=1, **settings))
            assert choose_way(fixed, corpus, None) == way

    def test_a_short_budget_shortens_the_timing(self, config: ConfigFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        steps = SimulatedSteps(WAYS, monkeypatch)
        for budget, rounds in (("10s", 1), ("10m", 2), ("1h", 4)):
            limited = config(trainer=TrainerConfig(budget=budget))
            steps.steps = []
            assert choose_way(limited, load_corpus(limited.data), None) == ("bf16", 1)
            assert len(steps.steps) == rounds * len(WAYS)

    def test_without_bfloat16_instructions(self, config: ConfigFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        SimulatedSteps(WAYS, monkeypatch)
        monkeypatch.setattr(step_timing, "supports_bf16", lambda _: False)
        automatic = config(trainer=TrainerConfig(max_epochs=1))
        corpus = load_corpus(automatic.data)
        assert choose_way(automatic, corpus, None) == ("fp32", 2)
        assert choose_way(automatic, corpus, "bf16") == ("fp32", 2), "a run may move to another processor"
        fixed = replace(automatic, trainer=TrainerConfig(max_epochs=1, precision="bf16"))
        with pytest.raises(TrainingError, match=r"no bfloat16 instructions.*trainer\.precision=fp32"):
            choose_way(fixed, corpus, None)


@pytest.mark.usefixtures("two_cores")
class TestRun:
    def test_threads_follow_the_machine_during_a_run(
        self, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seconds = {StepWay("fp32", 1): 1.0, StepWay("fp32", 2): 0.6}
        steps = SimulatedSteps(seconds, monkeypatch)
        training_step = LanguageModelModule.training_step

        def busy_from_step_20(module: LanguageModelModule, *args: Any) -> Any:
            seconds[StepWay("fp32", 2)] = 0.6 if module.global_step < 20 else 2.0
            return training_step(module, *args)

        monkeypatch.setattr(LanguageModelModule, "training_step", busy_from_step_20)
        metrics = train(config(trainer=TrainerConfig(precision="fp32", max_epochs=2)), tmp_path)
        threads = [step.threads for step in steps.steps[-metrics["steps"] :]]
        assert threads[:20] == [2] * 20
        assert threads[-25:] == [1] * 25
        assert metrics["threads"] == 1
        assert torch.get_num_threads() == 2, "restored for the next run of this process"

    def test_a_fixed_number_is_never_changed(
        self, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps = SimulatedSteps({StepWay("fp32", 3): 1.0}, monkeypatch)
        fixed = config(trainer=TrainerConfig(precision="fp32", threads=3, max_epochs=1))
        assert train(fixed, tmp_path)["threads"] == 3
        assert {step.threads for step in steps.steps} == {3}
        assert torch.get_num_threads() == 2
