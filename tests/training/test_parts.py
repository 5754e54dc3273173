"""Unit tests of the parts of a run: optimizers, penalties, precision, checkpoint files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.small_models import small_corpus, small_network
from helpers.small_runs import optimizer_config

from lstm_lm.data.streams import Window
from lstm_lm.errors import CheckpointError
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.training.checkpoint_io import AtomicCheckpointIO
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.objective import activation_penalty
from lstm_lm.training.optimizers import build_optimizer


def module(loss: LossConfig, optimizer: str = "adam") -> LanguageModelModule:
    network = small_network(ModelConfig(16, [16]))
    built = LanguageModelModule(
        small_corpus(), network, loss=loss, optimizer=optimizer_config(optimizer), bptt_length=6
    )
    built.loss.sparse_gradient = optimizer == "row_adamw"
    return built


def window(length: int = 6) -> Window:
    ids = torch.randint(49, (2, length + 1), generator=torch.Generator().manual_seed(0))
    return Window(ids[:, :-1], ids[:, 1:], None, starts_stream=True)


@pytest.mark.parametrize(
    ("name", "class_name"),
    [("adam", "Adam"), ("adamw", "AdamW"), ("row_adamw", "RowAdamW"), ("sgd", "SGD")],
)
def test_optimizers_get_their_settings(name: str, class_name: str) -> None:
    network = small_network()
    optimizer = build_optimizer(optimizer_config(name, lr=0.5, weight_decay=0.1), network)
    assert type(optimizer).__name__ == class_name
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}
    decays = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert decays == {parameter: 0.1 if parameter.ndim > 1 else 0.0 for parameter in network.parameters()}


@pytest.mark.parametrize("tie_weights", [True, False])
def test_row_adamw_gives_word_rows_no_momentum_and_their_own_beta2(tie_weights: bool) -> None:
    network = small_network(ModelConfig(16, [16], tie_weights=tie_weights))
    optimizer = build_optimizer(optimizer_config("row_adamw", betas=[0.9, 0.99], row_beta2=0.999), network)
    betas = {parameter: group["betas"] for group in optimizer.param_groups for parameter in group["params"]}
    assert betas[network.embedding.weight] == betas[network.output_weight] == (0.0, 0.999)
    assert betas[network.output_bias] == (0.9, 0.999)
    assert sum(beta == (0.9, 0.99) for beta in betas.values()) == 2  # the matrices of the LSTM


@pytest.mark.parametrize("limit", [None, 0.01])
def test_sparse_gradient_norm_and_clipping_match_dense(limit: float | None) -> None:
    results = []
    for name in ("adamw", "row_adamw"):
        torch.manual_seed(0)
        one = module(LossConfig("sampled_softmax", num_frequent=4, num_sampled=8), name)
        torch.manual_seed(1)
        one.training_step(window(), 0)["loss"].backward()
        one.configure_gradient_clipping(build_optimizer(one.optimizer_config, one.model), limit)
        gradient = one.model.embedding.weight.grad
        assert gradient is not None
        assert gradient.is_sparse == (name == "row_adamw")
        results.append((float(one.gradient_norm), gradient.to_dense()))
    assert results[0][0] == pytest.approx(results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])
    assert limit is None or float(results[0][1].norm()) < limit < results[0][0]


def test_activation_penalties_by_hand() -> None:
    features = torch.tensor([[[1.0, 2.0], [3.0, 2.0]]])
    both = LossConfig(activation_reg=2.0, temporal_activation_reg=3.0)
    # mean square 4.5; one step changes by (2, 0): mean square 2
    assert float(activation_penalty(both, features, features)) == pytest.approx(2.0 * 4.5 + 3.0 * 2.0)
    assert float(activation_penalty(LossConfig(), features, features)) == 0.0


def test_short_window_counts_less() -> None:
    full, half = (float(module(LossConfig()).training_step(window(length), 0)["nll"]) for length in (6, 3))
    one, two = (module(LossConfig()).training_step(window(length), 0) for length in (6, 3))
    assert one["loss"].item() == pytest.approx(full)
    assert two["loss"].item() == pytest.approx(half / 2)


def test_state_is_carried_over_and_detached() -> None:
    carried = module(LossConfig())
    first = carried.training_step(window(), 0)
    later = Window(window().input_ids, window().target_ids, None, starts_stream=False)
    second = carried.training_step(later, 1)
    assert float(second["nll"]) != float(first["nll"])
    second["loss"].backward()  # fails if the graph of the first window is still attached
    again = carried.training_step(window(), 2)
    assert float(again["nll"]) == pytest.approx(float(first["nll"]))


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_failed_checkpoint_write_keeps_the_old_file(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def fail(*_: object) -> Callable[..., None]:
        raise failure

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot write the checkpoint .*free disk space"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
