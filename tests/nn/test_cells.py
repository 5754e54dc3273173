"""Every cell: the recurrence of its paper, its gradients, state and dropout; and how a cell is found by name."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import needs_bf16
from torch import Tensor, nn

from lstm_lm.errors import CellNotImportedError
from lstm_lm.nn.cells import cell_class, cell_names, cell_options
from lstm_lm.nn.cells.base import Cell
from lstm_lm.nn.cells.cifg import CIFG
from lstm_lm.nn.cells.lstm import LSTM
from lstm_lm.nn.cells.mogrifier import Mogrifier
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel

VOCAB = 30
CELLS: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm"},
    "cifg": {"cell": "cifg"},
    "mogrifier": {"cell": "mogrifier"},
    "mogrifier, low rank": {"cell": "mogrifier", "cell_options": {"rounds": 4, "rank": 3}},
}


@pytest.fixture(params=list(CELLS))
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CELLS[request.param]


def network(settings: dict[str, Any], **dropouts: float) -> LSTMLanguageModel:
    torch.manual_seed(0)
    model = LSTMLanguageModel(ModelConfig(8, [12, 8], **settings, **dropouts), VOCAB)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.7, 0.7)
    return model


def random_ids(batch_size: int, length: int) -> Tensor:
    return torch.randint(VOCAB, (batch_size, length), generator=torch.Generator().manual_seed(1))


def cifg_step(cell: CIFG, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step as in Greff et al. 2017, with f = 1 - i."""
    i, o, g = (x @ cell.weight_input.t() + h @ cell.weight_hidden.t() + cell.bias).chunk(3, dim=1)
    i, o, g = i.sigmoid(), o.sigmoid(), g.tanh()
    c = (1.0 - i) * c + i * g
    return o * c.tanh(), c


def mogrifier_step(cell: Mogrifier, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step as in Melis et al. 2020, equations 1 and 2."""
    matrices = list(cell.gating)
    if cell.options.rank:
        matrices = [left @ right for right, left in zip(matrices[0::2], matrices[1::2], strict=True)]
    for number, matrix in enumerate(matrices, start=1):
        if number % 2 == 1:
            x = 2 * torch.sigmoid(h @ matrix.t()) * x
        else:
            h = 2 * torch.sigmoid(x @ matrix.t()) * h
    i, f, o, g = (x @ cell.weight_input.t() + h @ cell.weight_hidden.t() + cell.bias).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@pytest.mark.parametrize(
    ("name", "options", "reference"),
    [
        ("cifg", {}, cifg_step),
        ("mogrifier", {"rounds": 5}, mogrifier_step),
        ("mogrifier", {"rounds": 2, "rank": 3}, mogrifier_step),
    ],
)
def test_output_and_gradients_are_those_of_the_paper(
    name: str, options: dict[str, Any], reference: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    torch.manual_seed(0)
    cell = cell_class(name)(5, 7, 0.0, cell_options(name, options))
    features, hidden, state = (torch.randn(*shape, requires_grad=True) for shape in [(3, 6, 5), (1, 3, 7), (1, 3, 7)])
    weight_of_outputs = torch.randn(3, 6, 7)

    def objective(outputs: Tensor, h: Tensor, c: Tensor) -> Tensor:
        return (outputs * weight_of_outputs).sum() + h.square().sum() + c.sum()

    h, c, outputs = hidden[0], state[0], []
    for x in features.unbind(1):
        h, c = reference(cell, x, h, c)
        outputs.append(h)
    inputs = [features, hidden, state, *cell.parameters()]
    expected = torch.autograd.grad(objective(torch.stack(outputs, 1), h, c), inputs)
    actual_outputs, (actual_h, actual_c) = cell(features, (hidden, state))
    torch.testing.assert_close(actual_outputs, torch.stack(outputs, 1))
    torch.testing.assert_close((actual_h[0], actual_c[0]), (h, c))
    actual = torch.autograd.grad(objective(actual_outputs, actual_h, actual_c), inputs)
    torch.testing.assert_close(actual, expected)


def test_lstm_is_torchs_lstm_with_the_same_initial_weights() -> None:
    torch.manual_seed(3)
    expected = nn.LSTM(5, 7, batch_first=True)
    torch.manual_seed(3)
    cell = LSTM(5, 7, 0.0, cell_options("lstm", {}))
    for (name, weight), (own_name, own) in zip(expected.named_parameters(), cell.named_parameters(), strict=True):
        assert name == own_name
        assert torch.equal(weight, own)
    features, state = torch.randn(2, 4, 5), (torch.randn(1, 2, 7), torch.randn(1, 2, 7))
    assert torch.equal(cell(features, state)[0], expected(features, state)[0])


def test_a_mogrifier_without_rounds_is_an_lstm() -> None:
    torch.manual_seed(0)
    lstm = LSTM(5, 7, 0.0, cell_options("lstm", {}))
    mogrifier = Mogrifier(5, 7, 0.0, cell_options("mogrifier", {"rounds": 0}))  # type: ignore[arg-type]

    def ifog(weight: Tensor) -> Tensor:
        i, f, g, o = weight.chunk(4)
        return torch.cat([i, f, o, g])

    with torch.no_grad():
        mogrifier.weight_input.copy_(ifog(lstm.weight_ih_l0))
        mogrifier.weight_hidden.copy_(ifog(lstm.weight_hh_l0))
        mogrifier.bias.copy_(ifog(lstm.bias_ih_l0 + lstm.bias_hh_l0))
    features, state = torch.randn(2, 4, 5), (torch.randn(1, 2, 7), torch.randn(1, 2, 7))
    torch.testing.assert_close(mogrifier(features, state), lstm(features, state))


def test_a_window_in_parts_with_carried_state_equals_the_whole(settings: dict[str, Any]) -> None:
    model = network(settings).eval()
    ids = random_ids(2, 9)
    state = model.initial_state(2)
    whole, last = model(ids, state)
    parts = []
    for part in ids.split([4, 1, 3, 1], dim=1):
        logits, state = model(part, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(state.tensors(), last.tensors(), atol=1e-5, rtol=1e-5)
    assert not any(tensor.any() for tensor in model.initial_state(2).tensors())


def test_the_gradient_reaches_earlier_words_only(settings: dict[str, Any]) -> None:
    model = network(settings).eval()
    embedded: list[Tensor] = []
    model.input_dropout.register_forward_pre_hook(lambda _m, args: (args[0].retain_grad(), embedded.append(args[0]))[0])
    logits, _ = model(random_ids(1, 6), model.initial_state(1))
    logits[0, 3].sum().backward()
    has_gradient = embedded[0].grad[0].abs().sum(dim=1) > 0
    assert has_gradient.tolist() == [True, True, True, True, False, False]


def test_weight_dropout_drops_recurrent_weights_in_training_only(settings: dict[str, Any]) -> None:
    model = network(settings, weight_dropout=0.5)
    ids, state = random_ids(2, 6), model.initial_state(2)
    logits, _ = model(ids, state)
    logits.sum().backward()
    recurrent = next(weight for name, weight in model.layers[0].named_parameters() if name.startswith("weight_h"))
    assert 0.2 < float((recurrent.grad == 0).float().mean()) < 0.8, "dropped weights get no gradient, the others do"
    model.eval()
    assert torch.equal(model(ids, state)[0], model(ids, state)[0])


@needs_bf16
def test_bfloat16_is_close_to_float32_and_keeps_the_state_precise(settings: dict[str, Any]) -> None:
    model = network(settings)
    ids, state = random_ids(4, 12), model.initial_state(4)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            features, after = model.features(ids, state)
        model.zero_grad()
        features.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.layers.parameters() if p.grad is not None]))
    assert all(tensor.dtype == torch.float32 for tensor in after.tensors()) or settings["cell"] == "lstm"
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 0.05


def test_a_network_has_the_weights_of_its_cell(settings: dict[str, Any]) -> None:
    gates = {"lstm": 4, "cifg": 3, "mogrifier": 4}[settings["cell"]]
    biases = 2 if settings["cell"] == "lstm" else 1
    sizes = {name: weight.numel() for name, weight in network(settings).layers[0].named_parameters()}
    assert sum(size for name, size in sizes.items() if "gating" not in name) == gates * 12 * (8 + 12 + biases)
    options = cell_options("mogrifier", settings.get("cell_options", {}))
    rounds, rank = (options.rounds, options.rank) if settings["cell"] == "mogrifier" else (0, 0)  # type: ignore[attr-defined]
    assert sum(size for name, size in sizes.items() if "gating" in name) == rounds * (rank * 20 if rank else 96)


def test_names_of_cells() -> None:
    assert cell_names() == ["cifg", "lstm", "mogrifier"]
    assert [cell_class(name) for name in cell_names()] == [CIFG, LSTM, Mogrifier]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "mogrifyer"}, r"cell: unknown cell \(got 'mogrifyer'\); did you mean mogrifier\?"),
        ({"cell": "base"}, "cell: unknown cell"),
        ({"cell": "../lstm"}, "cell: unknown cell"),
        ({"cell": ":x"}, "cell: unknown cell"),
        ({"cell": "lstm", "cell_options": {"rounds": 5}}, r"cell_options\.rounds: lstm has no such option"),
        ({"cell": "mogrifier", "cell_options": {"round": 5}}, r"cell_options\.round: .*; did you mean rounds\?"),
        ({"cell": "mogrifier", "cell_options": {"rounds": 2.5}}, r"cell_options\.rounds: must be int \(got 2\.5\)"),
        ({"cell": "mogrifier", "cell_options": {"rounds": -1}}, r"cell_options\.rounds: must be from 0 to 100"),
        ({"cell": "os:system"}, "os:system is not a subclass of lstm_lm.nn.cells.base.Cell"),
    ],
)
def test_an_unknown_cell_and_wrong_options_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTMLanguageModel(ModelConfig(8, [8], **settings), VOCAB)


def test_a_cell_from_outside_must_be_imported_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cell_outside.py").write_text(
        "from lstm_lm.nn.cells.cifg import CIFG\n\n\nclass Mine(CIFG):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = ModelConfig(8, [8], cell="cell_outside:Mine")
    assert config.problems() == []
    with pytest.raises(CellNotImportedError, match=r"cell_outside:Mine is not .*set LSTM_LM_CELLS=cell_outside"):
        LSTMLanguageModel(config, VOCAB)
    assert "cell_outside" not in sys.modules
    try:
        with monkeypatch.context() as environment:
            environment.setenv("LSTM_LM_CELLS", "another,cell_outside")
            LSTMLanguageModel(config, VOCAB)
        sys.modules.pop("cell_outside")
        assert config.cell_problems() == [], "the user's own config imports it"
        model = LSTMLanguageModel(config, VOCAB)
        assert type(model.layers[0]).__name__ == "Mine"
        assert isinstance(model.layers[0], Cell)
    finally:
        sys.modules.pop("cell_outside", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cell: no module named cell_outside; install it, or add its folder to PYTHONPATH \(got cell_outside:A"),
        ("import not_there", "cell: cell_outside needs the module not_there"),
        ("1 / 0", "cell: importing cell_outside failed .ZeroDivisionError: division by zero"),
        ("A = 1", "cell: cell_outside:A is not a subclass"),
    ],
)
def test_a_cell_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "cell_outside.py").write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        (problem,) = ModelConfig(8, [8], cell="cell_outside:A").cell_problems()
    finally:
        sys.modules.pop("cell_outside", None)
    assert re.match(message, problem), problem
