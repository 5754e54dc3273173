"""What is cached changes the time of an answer and nothing else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_models import PRESETS, WORDS, small_network, small_vocabulary

from lstm_lm.export.onnx_graph import float_graph, int8_graph
from lstm_lm.inference.backend import Backend, State
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.onnx_backend import OnnxBackend
from lstm_lm.inference.prefix_cache import PrefixCache, decode_last_tokens
from lstm_lm.inference.torch_backend import TorchBackend

NETWORK = small_network()
WEIGHTS = {name: tensor.numpy() for name, tensor in NETWORK.state_dict().items()}
TORCH = TorchBackend(NETWORK)
words = st.integers(0, len(WORDS) - 1)
# a text is changed again and again: some of its words are replaced by others, at any place
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


class Counting:
    """A backend that notes how many words each call reads."""

    vocab_size = len(WORDS)

    def __init__(self) -> None:
        self.calls: list[int] = []

    def initial_state(self, batch_size: int) -> State:
        return TORCH.initial_state(batch_size)

    def step(self, input_ids: NDArray[np.int64], state: State) -> Any:
        self.calls.append(input_ids.shape[1])
        return TORCH.step(input_ids, state)

    def read(self, input_ids: NDArray[np.int64], state: State) -> Any:
        self.calls.append(input_ids.shape[1])
        return TORCH.read(input_ids, state)

    def taken(self) -> list[int]:
        calls, self.calls = self.calls, []
        return calls


@given(edits, st.integers(1, 40), st.lists(st.booleans(), min_size=25, max_size=25))
@settings(deadline=None, max_examples=40)
def test_an_answer_does_not_depend_on_what_is_cached(
    backend: Backend, edits: list[tuple[float, int, list[int]]], size: int, wants_features: list[bool]
) -> None:
    cached, plain = PrefixCache(size), PrefixCache(0)
    exact = isinstance(backend, OnnxBackend) and "int8" in backend.name
    ids = [0]
    for (place, removed, added), wanted in zip(edits, wants_features, strict=False):
        start = 1 + int(place * (len(ids) - 1))
        ids = [*ids[:start], *added, *ids[start + removed :]]
        ours, expected = cached.read(backend, ids, wanted), plain.read(backend, ids, True)
        assert (ours.features is not None) == wanted
        pairs = [(ours.logits, expected.logits), *zip(ours.state, expected.state, strict=True)]
        if ours.features is not None and expected.features is not None:
            pairs.append((ours.features, expected.features))
        for one, other in pairs:
            assert one.shape == other.shape
            # int8 sums are whole numbers, so that nothing depends on how the words are divided
            assert np.array_equal(one, other) if exact else np.abs(one - other).max() < 1e-4
        assert len(cached) <= size


@given(st.lists(st.lists(st.sampled_from(["the", "cat", "Xyzzy", "river", "."]), max_size=8), min_size=1, max_size=12))
@settings(deadline=None, max_examples=25)
def test_an_engine_says_the_same_with_and_without(texts: list[list[str]]) -> None:
    plain, cached = (Engine(TORCH, small_vocabulary(), PRESETS, "greedy", size) for size in (0, 8))
    for index, text in enumerate(texts):
        config = CacheConfig() if index % 2 else None
        ours = cached.predict(" ".join(text), 5, cache=config)
        expected = plain.predict(" ".join(text), 5, cache=config)
        assert [one.word for one in ours.suggestions] == [one.word for one in expected.suggestions]
        assert [one.probability for one in ours.suggestions] == pytest.approx(
            [one.probability for one in expected.suggestions], abs=1e-5
        )
        sampling = plain.resolve_sampling("greedy")
        assert cached.generate(" ".join(text), sampling, 4).words == plain.generate(" ".join(text), sampling, 4).words


def test_a_text_that_grows_costs_one_step_a_word_and_no_step_again() -> None:
    cache, backend = PrefixCache(100), Counting()
    text = list(range(1, 20))
    for length in range(1, len(text) + 1):
        cache.read(backend, text[:length])
        assert backend.taken() == [1]
        cache.read(backend, text[:length], features=True)
        assert backend.taken() == []
    assert (cache.hits, cache.misses) == (2 * len(text) - 2, 2)


def test_an_edit_in_the_middle_reads_no_more_than_what_follows_it() -> None:
    cache, backend = PrefixCache(100), Counting()
    text = [index % len(WORDS) for index in range(1, 101)]
    cache.read(backend, text)
    assert backend.taken() == [32, 32, 32, 3, 1]
    cache.read(backend, [*text[:70], 0, *text[71:]])
    assert backend.taken() == [32, 3, 1], "the state after 64 words is known"
    cache.read(backend, [*text[:99], 0])
    assert backend.taken() == [1], "the last word of the text before is another one"


def test_the_least_recently_used_prefix_is_dropped_first() -> None:
    cache, backend = PrefixCache(3), Counting()
    for word in (1, 2, 3):
        cache.read(backend, [word])
    cache.read(backend, [1])
    cache.read(backend, [4])  # 2 was asked for longest ago
    backend.taken()
    for word, calls in ((1, []), (3, []), (4, []), (2, [1])):
        cache.read(backend, [word])
        assert backend.taken() == calls
    assert len(cache) == 3


def test_a_text_longer_than_the_cache_still_grows_by_a_step() -> None:
    cache, backend = PrefixCache(4), Counting()
    text = [index % len(WORDS) for index in range(1, 41)]
    for length in range(1, len(text) + 1):
        cache.read(backend, text[:length])
        assert backend.taken() == [1]


def test_memory_is_bounded_and_no_batch_is_kept_alive() -> None:
    class Batched(Counting):
        """Answers with a row of a batch of many, as a batch shared by many texts gives it."""

        def step(self, input_ids: NDArray[np.int64], state: State) -> Any:
            logits, after = TORCH.step(np.repeat(input_ids, 8, 0), tuple(np.repeat(part, 8, 0) for part in state))
            return logits[3:4], tuple(part[3:4] for part in after)

    cache, backend = PrefixCache(50), Batched()
    for length in range(1, 200):
        cache.read(backend, [index % len(WORDS) for index in range(length)])
    assert len(cache) == 50
    assert len(cache._logits) <= 32
    kept = [part for prefix in cache._prefixes.values() for part in (*prefix.state, prefix.features)]
    assert all(part.base is None for part in (*kept, *cache._logits.values()))


def test_several_threads_get_what_one_gets() -> None:
    cache, rng = PrefixCache(20), np.random.default_rng(0)
    stem = rng.integers(0, len(WORDS), 40).tolist()
    texts = [[*stem[: rng.integers(1, 40)], int(rng.integers(0, len(WORDS)))] for _ in range(60)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: cache.read(TORCH, text, features=True), texts * 2))
    for text, read in zip(texts * 2, together, strict=True):
        expected = PrefixCache(0).read(TORCH, text, features=True)
        assert np.abs(read.logits - expected.logits).max() < 1e-5
        assert read.features is not None
        assert expected.features is not None
        assert np.abs(read.features - expected.features).max() < 1e-5
    assert cache.hits + cache.misses == len(texts) * 2


def test_the_words_of_a_text_are_not_kept() -> None:
    cache = PrefixCache(10)
    cache.read(TORCH, [7, 11, 13])
    assert all(isinstance(key, bytes) and len(key) == 16 for key in cache._prefixes)


@given(st.lists(words, min_size=1, max_size=300), st.integers(1, 100), st.sampled_from([0, 1, 1000]))
@settings(deadline=None, max_examples=40)
def test_a_text_that_is_read_in_slices_gives_the_same(ids: list[int], max_tokens: int, size: int) -> None:
    cache, backend = PrefixCache(size), Counting()
    text = cache.lookup(ids, features=True)
    text.prefill(backend, max_tokens)
    while text.num_prefill_tokens:
        assert 0 < sum(backend.taken()) < max_tokens + 32
        text.prefill(backend, max_tokens)
    decode_last_tokens(backend, [text])
    expected = PrefixCache(0).read(TORCH, ids, features=True)
    np.testing.assert_allclose(text.reading.logits, expected.logits, atol=1e-4)
    assert text.reading.features is not None
    assert expected.features is not None
    np.testing.assert_allclose(text.reading.features, expected.features, atol=1e-4)
