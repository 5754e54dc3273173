"""The ONNX graphs match the torch network for any batch size and length."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.small_models import WORDS, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_lm.export.onnx_graph import float_graph, int8_graph
from lstm_lm.inference import onnx_backend
from lstm_lm.inference.onnx_backend import OnnxBackend
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.nn.config import ModelConfig

V = len(WORDS)
CONFIGS = {
    "tied": ModelConfig(embedding_dim=16, hidden_dims=[24, 16]),
    "untied, one layer": ModelConfig(embedding_dim=10, hidden_dims=[13], tie_weights=False),
    "three layers": ModelConfig(embedding_dim=12, hidden_dims=[20, 9, 12]),
}


def write_backend(folder: Path, config: ModelConfig, name: str) -> OnnxBackend:
    weights = {key: tensor.numpy() for key, tensor in small_network(config).state_dict().items()}
    (folder / name).write_bytes((int8_graph if "int8" in name else float_graph)(config, weights))
    return OnnxBackend(folder / name, config, V, threads=1)


@pytest.fixture(scope="module", params=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def float_backend(config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> OnnxBackend:
    return write_backend(tmp_path_factory.mktemp("graph"), config, "model.onnx")


@pytest.fixture(scope="module")
def int8_backend(config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> OnnxBackend:
    return write_backend(tmp_path_factory.mktemp("graph"), config, "model.int8.onnx")


texts = st.integers(1, 4).flatmap(
    lambda batch: st.integers(1, 12).flatmap(
        lambda time: st.lists(
            st.lists(st.integers(0, V - 1), min_size=time, max_size=time), min_size=batch, max_size=batch
        )
    )
)


@given(texts)
@settings(deadline=None, max_examples=30)
def test_float32_matches_torch(config: ModelConfig, float_backend: OnnxBackend, rows: list[list[int]]) -> None:
    torch_backend, ids = TorchBackend(small_network(config)), np.array(rows)
    logits, state = float_backend.step(ids, float_backend.initial_state(len(rows)))
    expected, expected_state = torch_backend.step(ids, torch_backend.initial_state(len(rows)))
    assert np.abs(logits - expected).max() < 1e-4
    for part, expected_part in zip(state, expected_state, strict=True):
        assert part.shape == expected_part.shape
        assert np.abs(part - expected_part).max() < 1e-5
    features, last, _ = float_backend.prefill(ids[:1], float_backend.initial_state(1))
    expected_features, _, _ = torch_backend.prefill(ids[:1], torch_backend.initial_state(1))
    assert features.shape == expected_features.shape
    assert np.abs(features - expected_features).max() < 1e-5
    assert np.abs(last - expected[0]).max() < 1e-4


@given(texts)
@settings(deadline=None, max_examples=30)
def test_int8_is_close_and_bitwise_independent_of_the_batch(
    config: ModelConfig, int8_backend: OnnxBackend, rows: list[list[int]]
) -> None:
    torch_backend, ids = TorchBackend(small_network(config)), np.array(rows)
    batched, state = int8_backend.step(ids, int8_backend.initial_state(len(rows)))
    expected, _ = torch_backend.step(ids, torch_backend.initial_state(len(rows)))
    assert np.abs(batched - expected).max() < 0.1 * expected.std() + 0.1
    for row in range(len(rows)):
        single_state = int8_backend.initial_state(1)
        for word in rows[row]:
            single, single_state = int8_backend.step(np.array([[word]]), single_state)
        assert np.array_equal(single[0], batched[row])
        assert all(np.array_equal(a[0], b[row]) for a, b in zip(single_state, state, strict=True))


def test_vnni_and_precise_kernels_are_bitwise_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not onnx_backend._has_vnni():
        pytest.skip("this CPU has no VNNI and always uses the precise kernels")
    vnni = write_backend(tmp_path, CONFIGS["three layers"], "model.int8.onnx")
    monkeypatch.setattr(onnx_backend, "_has_vnni", lambda: False)
    precise = write_backend(tmp_path, CONFIGS["three layers"], "model.int8.onnx")
    for rows, words in ((1, 1), (1, 5), (8, 1), (13, 3)):
        ids = np.random.default_rng(rows).integers(0, vnni.vocab_size, (rows, words))
        for actual, expected in zip(
            vnni.step(ids, vnni.initial_state(rows)), precise.step(ids, precise.initial_state(rows)), strict=True
        ):
            assert np.array_equal(np.hstack(actual), np.hstack(expected))


def test_step_does_not_modify_its_state(int8_backend: OnnxBackend, float_backend: OnnxBackend) -> None:
    for backend in (int8_backend, float_backend):
        _, state = backend.step(np.array([[3]]), backend.initial_state(1))
        before = [part.copy() for part in state]
        logits, after = backend.step(np.array([[4]]), state)
        assert all(np.array_equal(a, b) for a, b in zip(state, before, strict=True))
        assert {part.dtype for part in (logits, *after)} == {np.dtype(np.float32)}


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    config = ModelConfig(embedding_dim=64, hidden_dims=[64])
    sizes = {}
    for name in ("model.onnx", "model.int8.onnx"):
        write_backend(tmp_path, config, name)
        sizes[name] = (tmp_path / name).stat().st_size
    parameters = sum(tensor.numel() for tensor in small_network(config).parameters())
    assert sizes["model.onnx"] < 4 * parameters + 5000
    assert sizes["model.int8.onnx"] < parameters + 4 * 4 * 64 * 2 + 8 * V + 8000


@pytest.mark.parametrize("name", ["model.onnx", "model.int8.onnx"])
def test_graph_of_another_network_is_rejected(tmp_path: Path, name: str) -> None:
    config = CONFIGS["tied"]
    write_backend(tmp_path, config, name)
    for other, vocab_size in (
        (config, V + 1),
        (config, V - 1),
        (ModelConfig(embedding_dim=16, hidden_dims=[25, 16]), V),
        (ModelConfig(embedding_dim=16, hidden_dims=[16]), V),
        (ModelConfig(embedding_dim=16, hidden_dims=[24, 20, 16]), V),
    ):
        with pytest.raises(ValueError, match="does not match the network"):
            OnnxBackend(tmp_path / name, other, vocab_size, threads=1)
    (tmp_path / name).write_bytes(b"not a graph")
    with pytest.raises(ValueError, match="cannot load the graph"):
        OnnxBackend(tmp_path / name, config, V, threads=1)


def test_onnx_backend_does_not_import_torch(tmp_path: Path) -> None:
    write_backend(tmp_path, CONFIGS["tied"], "model.int8.onnx")
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from lstm_lm.inference.onnx_backend import OnnxBackend; from lstm_lm.nn.config import ModelConfig\n"
        f"backend = OnnxBackend(Path({str(tmp_path / 'model.int8.onnx')!r}), "
        f"ModelConfig(embedding_dim=16, hidden_dims=[24, 16]), {V})\n"
        "backend.step(np.array([[1]]), backend.initial_state(1))\n"
        "print([name for name in ('torch', 'onnx', 'lightning', 'hydra', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
