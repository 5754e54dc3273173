"""RowAdamW against AdamW."""

import copy

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lstm_lm.training.row_adamw import DECAY_EVERY, RowAdamW

WORDS, WIDTH = 30, 4
Pair = tuple[torch.nn.Parameter, torch.nn.Parameter]


def initial_parameters() -> Pair:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.nn.Parameter(torch.randn(WORDS, WIDTH, generator=generator)),
        torch.nn.Parameter(torch.randn(WIDTH, generator=generator)),
    )


def build(optimizer_class: type[AdamW], pair: Pair) -> AdamW:
    groups = [{"params": [pair[0]], "betas": (0.0, 0.95)}, {"params": [pair[1]], "betas": (0.9, 0.95)}]
    return optimizer_class(groups, lr=0.02, weight_decay=0.3, fused=optimizer_class is RowAdamW)


def take_step(optimizer: Optimizer, pair: Pair, number: int, sparse: bool) -> None:
    generator = torch.Generator().manual_seed(number)
    rows = torch.randint(WORDS, (5,), generator=generator)
    rows = torch.cat([rows, rows[:2]])  # duplicate rows
    values = torch.randn(len(rows), WIDTH, generator=generator)
    gradient = torch.sparse_coo_tensor(rows.unsqueeze(0), values, (WORDS, WIDTH), check_invariants=True)
    pair[0].grad = gradient if sparse else gradient.to_dense()
    pair[1].grad = torch.randn(WIDTH, generator=generator)
    for group in optimizer.param_groups:  # a schedule
        group["lr"] = 0.02 / (1 + number % 7)
    optimizer.step()


def train_both(steps: int) -> tuple[Tensor, Tensor]:
    """Weights of RowAdamW, with the pending decay applied, and of AdamW after a number of steps."""
    by_rows, dense = initial_parameters(), initial_parameters()
    ours, theirs = build(RowAdamW, by_rows), build(AdamW, dense)
    for number in range(steps):
        take_step(ours, by_rows, number, sparse=True)
        take_step(theirs, dense, number, sparse=False)
    torch.testing.assert_close(by_rows[1], dense[1])  # the dense parameter keeps its momentum
    return by_rows[0].detach() * ours.state[by_rows[0]]["pending_decay"], dense[0].detach()


@pytest.mark.parametrize("steps", [1, 15, 16, 17, 100])
def test_row_updates_match_adamw_without_momentum(steps: int) -> None:
    actual, expected = train_both(steps)
    torch.testing.assert_close(actual, expected)


def test_decay_is_applied_every_sixteen_steps() -> None:
    pair = initial_parameters()
    optimizer = build(RowAdamW, pair)
    for number in range(3 * DECAY_EVERY + 1):
        take_step(optimizer, pair, number, sparse=True)
        pending_decay = float(optimizer.state[pair[0]]["pending_decay"])
        assert (pending_decay == 1.0) == ((number + 1) % DECAY_EVERY == 0)
        assert pending_decay > (1.0 - 0.02 * 0.3) ** DECAY_EVERY


def test_dense_gradient_gets_adamw() -> None:
    pair, plain = initial_parameters(), initial_parameters()
    ours, theirs = build(RowAdamW, pair), build(AdamW, plain)
    for number in range(5):
        take_step(ours, pair, number, sparse=False)
        take_step(theirs, plain, number, sparse=False)
    torch.testing.assert_close(pair, plain)


def test_resumes_from_its_state_dict() -> None:
    pair = initial_parameters()
    optimizer = build(RowAdamW, pair)
    for number in range(21):
        take_step(optimizer, pair, number, sparse=True)
    resumed = copy.deepcopy(pair)
    other = build(RowAdamW, resumed)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for number in range(21, 40):
        take_step(optimizer, pair, number, sparse=True)
        take_step(other, resumed, number, sparse=True)
    assert all(torch.equal(one, two) for one, two in zip(pair, resumed, strict=True))


def test_closure_runs_before_the_update() -> None:
    pair = initial_parameters()
    optimizer = build(RowAdamW, pair)
    before = pair[0].detach().clone()

    def closure() -> float:
        assert torch.is_grad_enabled()
        pair[0].grad = torch.sparse_coo_tensor([[3]], torch.ones(1, WIDTH), (WORDS, WIDTH), check_invariants=True)
        return 0.5

    assert optimizer.step(closure) == 0.5
    assert (pair[0] != before).any(dim=1).nonzero().flatten().tolist() == [3]


def test_sparse_gradient_with_momentum_is_rejected() -> None:
    pair = initial_parameters()
    with pytest.raises(ValueError, match=r"beta1 must be 0 .*got 0\.9"):
        take_step(RowAdamW(pair, lr=0.02, betas=(0.9, 0.95)), pair, 0, sparse=True)
