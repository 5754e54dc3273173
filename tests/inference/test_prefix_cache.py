"""The prefix cache changes only the time of a result."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from helpers.small_models import PRESETS, WORDS, small_network, small_vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_lm.export.onnx_graph import float_graph, int8_graph
from lstm_lm.inference.backend import Backend, State
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.logits import softmax
from lstm_lm.inference.onnx_backend import OnnxBackend
from lstm_lm.inference.prefill import decode_last_tokens
from lstm_lm.inference.prefix_cache import PrefixCache
from lstm_lm.inference.torch_backend import TorchBackend

NETWORK = small_network()
WEIGHTS = {name: tensor.numpy() for name, tensor in NETWORK.state_dict().items()}
TORCH = TorchBackend(NETWORK)
words = st.integers(0, len(WORDS) - 1)
# repeated edits of one text, each replacing some of its words at any position
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.lists(words, max_size=4) | st.lists(words, max_size=70)),
    min_size=1,
    max_size=25,
)


@pytest.fixture(scope="module", params=["torch", "model.onnx", "model.int8.onnx"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    if request.param == "torch":
        yield TORCH
        return
    path = tmp_path_factory.mktemp("graph") / request.param
    path.write_bytes((int8_graph if "int8" in path.name else float_graph)(NETWORK.config, WEIGHTS))
    yield OnnxBackend(path, NETWORK.config, len(WORDS), threads=1)


class CountingBackend:
    """A backend that records the number of tokens in each call."""

    vocab_size = len(WORDS)

    def __init__(self) -> None:
        self.calls: list[int] = []

    def initial_state(self, batch_size: int) -> State:
        return TORCH.initial_state(batch_size)

    def step(self, input_ids: NDArray[np.int64], state: State) -> Any:
        self.calls.append(input_ids.shape[1])
        return TORCH.step(input_ids, state)

    def last_features(self, state: State) -> Any:
        return TORCH.last_features(state)

    def prefill(self, input_ids: NDArray[np.int64], state: State) -> Any:
        self.calls.append(input_ids.shape[1])
        return TORCH.prefill(input_ids, state)

    def pop_calls(self) -> list[int]:
        calls, self.calls = self.calls, []
        return calls


@given(edits, st.integers(1, 40), st.lists(st.booleans(), min_size=25, max_size=25))
@settings(deadline=None, max_examples=40)
def test_output_does_not_depend_on_the_cache(
    backend: Backend, edits: list[tuple[float, int, list[int]]], size: int, features: list[bool]
) -> None:
    cached, plain = PrefixCache(size), PrefixCache(0)
    exact = isinstance(backend, OnnxBackend) and "int8" in backend.name
    ids = [0]
    for (fraction, removed, added), return_features in zip(edits, features, strict=False):
        start = 1 + int(fraction * (len(ids) - 1))
        ids = [*ids[:start], *added, *ids[start + removed :]]
        actual, expected = cached.forward(backend, ids, return_features), plain.forward(backend, ids, True)
        assert (actual.features is not None) == return_features
        pairs = [
            (actual.next_token.logits, expected.next_token.logits),
            *zip(actual.state, expected.state, strict=True),
        ]
        if actual.features is not None and expected.features is not None:
            pairs.append((actual.features, expected.features))
        for one, other in pairs:
            assert one.shape == other.shape
            # int8 sums are integers, so the result does not depend on how the tokens are chunked
            assert np.array_equal(one, other) if exact else np.abs(one - other).max() < 1e-4
        assert len(cached) <= size


@given(st.lists(st.lists(st.sampled_from(["the", "cat", "Xyzzy", "river", "."]), max_size=8), min_size=1, max_size=12))
@settings(deadline=None, max_examples=25)
def test_engine_results_are_the_same_with_and_without_the_cache(texts: list[list[str]]) -> None:
    plain, cached = (Engine(TORCH, small_vocabulary(), PRESETS, "greedy", size) for size in (0, 8))
    for index, text in enumerate(texts):
        config = CacheConfig() if index % 2 else None
        actual = cached.predict(" ".join(text), 5, cache=config)
        expected = plain.predict(" ".join(text), 5, cache=config)
        assert [s.word for s in actual.suggestions] == [s.word for s in expected.suggestions]
        assert [s.probability for s in actual.suggestions] == pytest.approx(
            [s.probability for s in expected.suggestions], abs=1e-5
        )
        sampling = plain.resolve_sampling("greedy")
        assert cached.generate(" ".join(text), sampling, 4).words == plain.generate(" ".join(text), sampling, 4).words


def test_each_added_word_costs_one_step_and_repeats_cost_none() -> None:
    cache, backend = PrefixCache(100), CountingBackend()
    text = list(range(1, 20))
    for length in range(1, len(text) + 1):
        cache.forward(backend, text[:length])
        assert backend.pop_calls() == [1]
        cache.forward(backend, text[:length], features=True)
        assert backend.pop_calls() == []
    assert (cache.hits, cache.misses) == (2 * len(text) - 2, 2)


def test_an_edit_resumes_from_the_nearest_stored_state() -> None:
    cache, backend = PrefixCache(100), CountingBackend()
    text = [index % len(WORDS) for index in range(1, 101)]
    cache.forward(backend, text)
    assert backend.pop_calls() == [32, 32, 32, 3, 1]
    cache.forward(backend, [*text[:70], 0, *text[71:]])
    assert backend.pop_calls() == [32, 3, 1], "the state after 64 words is cached"
    cache.forward(backend, [*text[:99], 0])
    assert backend.pop_calls() == [1], "only the last word differs from the first text"


def test_least_recently_used_prefix_is_evicted_first() -> None:
    cache, backend = PrefixCache(3), CountingBackend()
    for word in (1, 2, 3):
        cache.forward(backend, [word])
    cache.forward(backend, [1])
    cache.forward(backend, [4])  # 2 is the least recently used
    backend.pop_calls()
    for word, calls in ((1, []), (3, []), (4, []), (2, [1])):
        cache.forward(backend, [word])
        assert backend.pop_calls() == calls
    assert len(cache) == 3


def test_a_text_longer_than_the_cache_still_costs_one_step_per_word() -> None:
    cache, backend = PrefixCache(4), CountingBackend()
    text = [index % len(WORDS) for index in range(1, 41)]
    for length in range(1, len(text) + 1):
        cache.forward(backend, text[:length])
        assert backend.pop_calls() == [1]


def test_memory_is_bounded_and_views_are_copied() -> None:
    class BatchedBackend(CountingBackend):
        """Returns views of a larger batch, as a step shared by several texts does."""

        def step(self, input_ids: NDArray[np.int64], state: State) -> Any:
            logits, after = TORCH.step(np.repeat(input_ids, 8, 0), tuple(np.repeat(part, 8, 0) for part in state))
            return logits[3:4], tuple(part[3:4] for part in after)

    cache, backend = PrefixCache(50), BatchedBackend()
    for length in range(1, 200):
        cache.forward(backend, [index % len(WORDS) for index in range(length)])
    assert len(cache) == 50
    assert len(cache._next_tokens) <= 32
    stored = [array for entry in cache._entries.values() for array in (*entry.state, entry.features)]
    stored += [next_token.logits for next_token in cache._next_tokens.values()]
    assert all(array.base is None for array in stored)


def test_the_letters_of_a_word_share_the_probabilities() -> None:
    cache = PrefixCache(20)
    first, second = (cache.forward(TORCH, [1, 2, 3]).next_token for _ in range(2))
    assert first.probs is second.probs
    assert not first.probs.flags.writeable
    np.testing.assert_allclose(first.probs, softmax(first.logits))


def test_threads_get_the_same_results() -> None:
    cache, rng = PrefixCache(20), np.random.default_rng(0)
    stem = rng.integers(0, len(WORDS), 40).tolist()
    texts = [[*stem[: rng.integers(1, 40)], int(rng.integers(0, len(WORDS)))] for _ in range(60)]
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda text: cache.forward(TORCH, text, features=True), texts * 2))
    for text, output in zip(texts * 2, outputs, strict=True):
        expected = PrefixCache(0).forward(TORCH, text, features=True)
        assert np.abs(output.next_token.logits - expected.next_token.logits).max() < 1e-5
        assert output.features is not None
        assert expected.features is not None
        assert np.abs(output.features - expected.features).max() < 1e-5
    assert cache.hits + cache.misses == len(texts) * 2


def test_keys_are_digests() -> None:
    cache = PrefixCache(10)
    cache.forward(TORCH, [7, 11, 13])
    assert all(isinstance(key, bytes) and len(key) == 16 for key in cache._entries)


@given(st.lists(words, min_size=1, max_size=300), st.integers(1, 100), st.sampled_from([0, 1, 1000]))
@settings(deadline=None, max_examples=40)
def test_prefill_in_chunks_equals_prefill_at_once(ids: list[int], max_tokens: int, size: int) -> None:
    cache, backend = PrefixCache(size), CountingBackend()
    task = cache.lookup(ids, features=True)
    task.prefill(backend, max_tokens)
    while task.num_prefill_tokens:
        assert 0 < sum(backend.pop_calls()) < max_tokens + 32
        task.prefill(backend, max_tokens)
    decode_last_tokens(backend, [task])
    expected = PrefixCache(0).forward(TORCH, ids, features=True)
    np.testing.assert_allclose(task.output.next_token.logits, expected.next_token.logits, atol=1e-4)
    assert task.output.features is not None
    assert expected.features is not None
    np.testing.assert_allclose(task.output.features, expected.features, atol=1e-4)
