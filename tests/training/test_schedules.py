"""Learning-rate schedules."""

import pytest
import torch
from helpers.small_runs import schedule_config

from lstm_lm.errors import ConfigError
from lstm_lm.training.schedules import build_schedule
from lstm_lm.training.targets import build

FRACTIONS = [i / 100 for i in range(101)]


def factors(name: str, warmup: float = 0.2, final: float = 0.05) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    arguments = {"warmup_fraction": warmup} | ({} if name == "constant" else {"final_fraction": final})
    fractions = iter(FRACTIONS)
    config = schedule_config(name, **arguments)
    scheduler = build(config, "schedule", optimizer=optimizer, fraction=lambda: next(fractions))
    rates = [optimizer.param_groups[0]["lr"]]
    while len(rates) < len(FRACTIONS):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("name", ["cosine", "linear", "one_cycle"])
def test_schedule_rises_to_its_peak_then_falls(name: str) -> None:
    curve = factors(name)
    assert max(curve) == curve[20] == 1.0
    assert curve[:21] == sorted(curve[:21])
    assert curve[20:] == sorted(curve[20:], reverse=True)
    assert curve[100] == pytest.approx(0.05)
    assert min(curve) > 0


def test_schedule_shapes_at_known_points() -> None:
    assert [factors(name)[10] for name in ("cosine", "linear", "constant")] == pytest.approx([0.5] * 3)
    assert [factors(name)[60] for name in ("cosine", "linear")] == pytest.approx([(1.0 + 0.05) / 2] * 2)
    assert factors("cosine")[40] > factors("linear")[40]
    assert factors("linear", warmup=0.0, final=0.0)[75] == pytest.approx(0.25)
    assert set(factors("constant", warmup=0.0)) == set(factors("constant")[20:]) == {1.0}
    cycle = factors("one_cycle", warmup=0.45, final=0.001)
    assert (cycle[0], cycle[90]) == pytest.approx((0.1, 0.1))
    assert [cycle[i] for i in range(91)] == pytest.approx([cycle[90 - i] for i in range(91)])
    assert cycle[95] == pytest.approx((0.1 + 0.001) / 2)


def test_one_cycle_needs_a_rise_and_a_fall() -> None:
    for warmup in (0.0, 0.9):
        with pytest.raises(ConfigError, match=r"schedule\.warmup_fraction: must be above 0 and below 0.9"):
            factors("one_cycle", warmup)
    with pytest.raises(ConfigError, match=r"schedule\.warmup_fraction: must be in \[0, 1\)"):
        factors("linear", 1.0)


def test_completed_fraction_drives_the_learning_rate() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    fractions = iter((0.0, 0.25, 0.5, 0.75, 1.0))
    config = schedule_config("linear", warmup_fraction=0.5, final_fraction=0.0)
    scheduler = build_schedule(config, optimizer, lambda: next(fractions))["scheduler"]
    rates = []
    for _ in range(4):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, 2.0, 1.0, 0.0])
