"""The optimizer that updates rows, against AdamW over everything."""

import copy

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lstm_lm.training.row_adamw import DECAY_EVERY, RowAdamW

WORDS, WIDTH = 30, 4
Pair = tuple[torch.nn.Parameter, torch.nn.Parameter]


def start() -> Pair:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.nn.Parameter(torch.randn(WORDS, WIDTH, generator=generator)),
        torch.nn.Parameter(torch.randn(WIDTH, generator=generator)),
    )


def build(kind: type[AdamW], pair: Pair) -> AdamW:
    groups = [{"params": [pair[0]], "betas": (0.0, 0.95)}, {"params": [pair[1]], "betas": (0.9, 0.95)}]
    return kind(groups, lr=0.02, weight_decay=0.3, fused=kind is RowAdamW)


def take_step(optimizer: Optimizer, pair: Pair, number: int, sparse: bool) -> None:
    generator = torch.Generator().manual_seed(number)
    rows = torch.randint(WORDS, (5,), generator=generator)
    rows = torch.cat([rows, rows[:2]])  # words that come twice
    values = torch.randn(len(rows), WIDTH, generator=generator)
    gradient = torch.sparse_coo_tensor(rows.unsqueeze(0), values, (WORDS, WIDTH), check_invariants=True)
    pair[0].grad = gradient if sparse else gradient.to_dense()
    pair[1].grad = torch.randn(WIDTH, generator=generator)
    for group in optimizer.param_groups:  # a schedule
        group["lr"] = 0.02 / (1 + number % 7)
    optimizer.step()


def follow(steps: int) -> tuple[Tensor, Tensor]:
    """Weights after so many steps of both, the rows' with the decay that they still owe."""
    by_rows, whole = start(), start()
    ours, theirs = build(RowAdamW, by_rows), build(AdamW, whole)
    for number in range(steps):
        take_step(ours, by_rows, number, sparse=True)
        take_step(theirs, whole, number, sparse=False)
    torch.testing.assert_close(by_rows[1], whole[1])  # the other parameter has its momentum
    return by_rows[0].detach() * ours.state[by_rows[0]]["pending_decay"], whole[0].detach()


@pytest.mark.parametrize("steps", [1, 15, 16, 17, 100])
def test_rows_go_where_adamw_without_momentum_goes(steps: int) -> None:
    got, wanted = follow(steps)
    torch.testing.assert_close(got, wanted)


def test_the_decay_is_paid_every_sixteen_steps() -> None:
    pair = start()
    optimizer = build(RowAdamW, pair)
    for number in range(3 * DECAY_EVERY + 1):
        take_step(optimizer, pair, number, sparse=True)
        pending_decay = float(optimizer.state[pair[0]]["pending_decay"])
        assert (pending_decay == 1.0) == ((number + 1) % DECAY_EVERY == 0)
        assert pending_decay > (1.0 - 0.02 * 0.3) ** DECAY_EVERY


def test_a_dense_gradient_is_adamws() -> None:
    pair, plain = start(), start()
    ours, theirs = build(RowAdamW, pair), build(AdamW, plain)
    for number in range(5):
        take_step(ours, pair, number, sparse=False)
        take_step(theirs, plain, number, sparse=False)
    torch.testing.assert_close(pair, plain)


def test_goes_on_from_its_state() -> None:
    pair = start()
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


def test_the_closure_comes_first() -> None:
    pair = start()
    optimizer = build(RowAdamW, pair)
    before = pair[0].detach().clone()

    def closure() -> float:
        assert torch.is_grad_enabled()
        pair[0].grad = torch.sparse_coo_tensor([[3]], torch.ones(1, WIDTH), (WORDS, WIDTH), check_invariants=True)
        return 0.5

    assert optimizer.step(closure) == 0.5
    assert (pair[0] != before).any(dim=1).nonzero().flatten().tolist() == [3]


def test_rows_with_momentum_are_refused() -> None:
    pair = start()
    with pytest.raises(ValueError, match=r"beta1 must be 0 .*got 0\.9"):
        take_step(RowAdamW(pair, lr=0.02, betas=(0.9, 0.95)), pair, 0, sparse=True)
