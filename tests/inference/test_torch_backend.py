"""Stepping token by token equals the full forward pass."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_models import WORDS, small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file

from lstm_lm.inference.torch_backend import TorchBackend, build_network, load_network
from lstm_lm.nn.config import ModelConfig

NETWORK = small_network(ModelConfig(embedding_dim=12, hidden_dims=[20, 8], tie_weights=False, weight_dropout=0.5))
BACKEND = TorchBackend(NETWORK)
ids = st.lists(st.integers(0, len(WORDS) - 1), min_size=1, max_size=30)


def full_forward(row: list[int]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits, _ = NETWORK(torch.tensor([row]), NETWORK.initial_state(1))
    return logits[0].numpy()


@given(ids)
@settings(deadline=None)
def test_decoding_token_by_token_equals_the_full_forward(row: list[int]) -> None:
    state = BACKEND.initial_state(1)
    stepped = []
    for index in row:
        logits, state = BACKEND.step(np.array([[index]]), state)
        stepped.append(logits[0])
    assert np.abs(np.stack(stepped) - full_forward(row)).max() < 1e-5


@given(ids, ids)
@settings(deadline=None)
def test_a_state_can_be_resumed(first: list[int], second: list[int]) -> None:
    _, state = BACKEND.step(np.array([first]), BACKEND.initial_state(1))
    logits, _ = BACKEND.step(np.array([second]), state)
    assert np.abs(logits[0] - full_forward(first + second)[-1]).max() < 1e-5


def test_states_are_stacked_on_axis_0() -> None:
    rows = [[1, 2, 3], [7, 5, 4]]
    states = [BACKEND.step(np.array([row]), BACKEND.initial_state(1))[1] for row in rows]
    stacked = tuple(np.concatenate(parts) for parts in zip(*states, strict=True))
    assert [part.shape for part in stacked] == [(2, 20), (2, 20), (2, 8), (2, 8)]
    logits, after = BACKEND.step(np.array([[9], [8]]), stacked)
    for index, row in enumerate(rows):
        expected, single = BACKEND.step(np.array([[9 - index]]), states[index])
        assert np.abs(logits[index] - expected[0]).max() < 1e-5
        assert all(np.abs(a[index] - b[0]).max() < 1e-5 for a, b in zip(after, single, strict=True))
        assert np.abs(logits[index] - full_forward([*row, 9 - index])[-1]).max() < 1e-5


def test_step_does_not_modify_its_state_and_returns_numpy_arrays() -> None:
    _, state = BACKEND.step(np.array([[3]]), BACKEND.initial_state(1))
    before = [part.copy() for part in state]
    logits, after = BACKEND.step(np.array([[4]]), state)
    assert all((a == b).all() for a, b in zip(state, before, strict=True))
    assert logits.shape == (1, len(WORDS))
    assert {part.dtype for part in (logits, *after)} == {np.dtype(np.float32)}
    assert not any(parameter.grad is not None for parameter in NETWORK.parameters())


def test_threads_get_the_same_results() -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, len(WORDS), size=(1, 12)) for _ in range(16)]

    def decode(text: NDArray[np.int64]) -> NDArray[np.float32]:
        state = BACKEND.initial_state(1)
        for step in range(text.shape[1]):
            logits, state = BACKEND.step(text[:, step : step + 1], state)
        return logits

    sequential = [decode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(decode, texts * 4))
    assert all(np.abs(a - b).max() < 1e-6 for a, b in zip(sequential * 4, threaded, strict=True))


@pytest.mark.parametrize("tie_weights", [True, False])
def test_build_network_requires_exactly_its_weights(tie_weights: bool) -> None:
    config = ModelConfig(embedding_dim=16, hidden_dims=[24, 16], tie_weights=tie_weights)
    weights = {name: tensor.clone() for name, tensor in small_network(config).state_dict().items()}
    network = build_network(config, len(WORDS), weights)
    assert not network.training
    assert (network.output_weight is network.embedding.weight) == tie_weights
    row = torch.tensor([[1, 2, 3]])
    expected, _ = small_network(config)(row, network.initial_state(1))
    assert torch.equal(network(row, network.initial_state(1))[0], expected)

    for changed, message in (
        ({name: tensor for name, tensor in weights.items() if name != "output_bias"}, "output_bias is missing"),
        (weights | {"decoder.weight": torch.zeros(1)}, "decoder.weight is unexpected"),
        (weights | {"output_bias": torch.zeros(3)}, r"output_bias has shape \(3,\), expected \(49,\)"),
        (weights | {"output_bias": torch.full((49,), torch.nan)}, "output_bias contains infinity or NaN"),
        (weights | {"output_bias": torch.zeros(49, dtype=torch.int8)}, "output_bias has dtype torch.int8"),
    ):
        with pytest.raises(ValueError, match=message):
            build_network(config, len(WORDS), changed)


def test_impossible_sizes_are_rejected_before_allocation() -> None:
    for width in (10**9, 10**18):
        with pytest.raises(ValueError, match=r"embedding\.weight has shape|no network can have these sizes"):
            build_network(ModelConfig(embedding_dim=width, hidden_dims=[width]), len(WORDS), NETWORK.state_dict())


def test_training_mode_is_rejected() -> None:
    with pytest.raises(AssertionError, match="training mode"):
        TorchBackend(small_network().train())


def test_load_network_restores_a_safetensors_file(tmp_path: Path) -> None:
    save_file(NETWORK.state_dict(), tmp_path / "weights")
    loaded = load_network(NETWORK.config, len(WORDS), tmp_path / "weights")
    assert all(torch.equal(tensor, NETWORK.state_dict()[name]) for name, tensor in loaded.state_dict().items())
