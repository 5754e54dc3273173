"""Batched predictions equal single ones, and one failure does not spread."""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import numpy as np
import pytest
from helpers.small_models import PRESETS, WORDS, small_engine, small_network, small_vocabulary
from numpy.typing import NDArray

from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import State
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.prediction import PendingPrediction
from lstm_lm.inference.prediction_request import Prediction, PredictionRequest
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.serving.batching import DynamicBatcher
from lstm_lm.serving.pool import InferenceThreadPool
from lstm_lm.serving.predictions import PredictionBatcher

LONG = " ".join(WORDS[2:7] * 100)
DEADLINE = 60  # seconds; only a deadlock gets there, however busy the machine is


class GatedBackend(TorchBackend):
    """Records the size of every call; calls wait while their gate is closed."""

    def __init__(self) -> None:
        super().__init__(small_network())
        self.steps: list[tuple[int, int]] = []
        self.prefills: list[int] = []
        self.step_gate, self.prefill_gate = threading.Event(), threading.Event()
        self.step_gate.set()
        self.prefill_gate.set()
        self.broken = False

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        self.steps.append((input_ids.shape[0], input_ids.shape[1]))
        assert self.step_gate.wait(DEADLINE)
        if self.broken:
            raise RuntimeError("broken")
        return super().step(input_ids, state)

    def prefill(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        assert self.prefill_gate.wait(DEADLINE)
        self.prefills.append(input_ids.shape[1])
        return super().prefill(input_ids, state)


def caching_engine(backend: GatedBackend) -> Engine:
    """An engine with a prefix cache, as in the service."""
    return Engine(backend, small_vocabulary(), PRESETS, "balanced", prefix_cache_size=100)


Result = Prediction | Exception | None


def predict_all(
    engine: Engine,
    requests: Sequence[PredictionRequest],
    until: Callable[[list[Result]], bool] = lambda _: True,
    then: Callable[[], None] = lambda: None,
    max_batch: int = 32,
    threads: int = 2,
) -> tuple[list[Result], list[int]]:
    """The results of concurrent requests, and the batch sizes.

    Args:
        engine: Predicts.
        requests: Submitted at the same time.
        until: Called with the results so far, ``None`` where a request still waits, until it returns true.
        then: Called after it.
        max_batch: Largest batch.
        threads: Size of the thread pool.
    """
    sizes: list[int] = []
    results: list[Result] = [None] * len(requests)

    async def predict(predictions: PredictionBatcher, index: int) -> None:
        try:
            results[index] = await predictions.predict(requests[index])
        except (RuntimeError, ConfigError) as error:
            results[index] = error

    async def run() -> None:
        predictions = PredictionBatcher(engine, InferenceThreadPool(threads), max_batch, sizes.append)
        async with anyio.create_task_group() as tasks:
            for index in range(len(requests)):
                tasks.start_soon(predict, predictions, index)
            with anyio.fail_after(DEADLINE):
                while not until(results):
                    await anyio.sleep(0.01)
            then()

    anyio.run(run)
    return results, sizes


def test_batched_predictions_equal_single_ones() -> None:
    single, backend = small_engine(), GatedBackend()
    batched = caching_engine(backend)
    requests = [
        PredictionRequest(text, k, prefix, cache=cache)
        for text in ("", "the", "the cat", "Xyzzy the", LONG, "of the cat in the city of the river .", "the")
        for k, prefix, cache in ((3, "", None), (10, "t", None), (5, "", CacheConfig()))
    ]
    for _ in range(2):  # with an empty and with a filled prefix cache
        results, _ = predict_all(batched, requests)
        for request, result in zip(requests, results, strict=True):
            expected = single.predict(request.text, request.k, request.prefix, cache=request.cache)
            assert isinstance(result, Prediction)
            assert result.unknown_words == expected.unknown_words
            assert [s.word for s in result.suggestions] == [s.word for s in expected.suggestions]
            assert [s.probability for s in result.suggestions] == pytest.approx(
                [s.probability for s in expected.suggestions], abs=1e-5
            )
    assert max(rows for rows, _ in backend.steps) > 4


def test_requests_that_arrive_during_a_batch_form_the_next_one() -> None:
    backend = GatedBackend()
    backend.step_gate.clear()
    engine = caching_engine(backend)
    requests = [PredictionRequest(word) for word in WORDS[2:9]]
    _, sizes = predict_all(engine, requests, lambda _: len(backend.steps) == 1, backend.step_gate.set, max_batch=4)
    assert sizes == [4, 3]
    assert [rows for rows, _ in backend.steps] == [4, 3]


def test_short_text_does_not_wait_for_the_prefill_of_long_ones() -> None:
    backend = GatedBackend()
    engine = caching_engine(backend)
    engine.predict("the old")
    backend.prefill_gate.clear()
    long, short = "the cat of the river in the city", "the old river"
    assert len(long) < 1000 < len(LONG)

    def only_short_is_done(results: list[Result]) -> bool:
        return [result is None for result in results] == [True, False, True]

    requests = [PredictionRequest(long), PredictionRequest(short), PredictionRequest(LONG)]
    results, _ = predict_all(engine, requests, only_short_is_done, backend.prefill_gate.set)
    assert all(isinstance(result, Prediction) for result in results)


def test_short_text_waits_for_one_chunk_of_each_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, calls, run = GatedBackend(), itertools.count(1), InferenceThreadPool.run
    backend.prefill_gate.clear()

    async def open_gate_and_run(*args: Any) -> Any:
        if next(calls) == 3:  # all three have arrived, the short text last
            backend.prefill_gate.set()
        return await run(*args)

    monkeypatch.setattr(InferenceThreadPool, "run", open_gate_and_run)
    long = [PredictionRequest(" ".join(WORDS[start : start + 5] * 100)) for start in (5, 12)]
    short = PredictionRequest("the cat of the river in")
    results, _ = predict_all(caching_engine(backend), [*long, short], threads=1)
    assert all(isinstance(result, Prediction) for result in results)
    # 64 tokens of each long text, then <eos> and all words of the short one but the last
    assert backend.prefills[:5] == [32, 32, 32, 32, 6]
    assert len(backend.prefills) > 30


def test_short_texts_do_not_wait_for_long_rankings(monkeypatch: pytest.MonkeyPatch) -> None:
    short_are_done, num_short, result = threading.Event(), itertools.count(1), PendingPrediction.result

    def wait_if_long(pending: PendingPrediction) -> Prediction:
        if pending.ranking_size() > 100:
            assert short_are_done.wait(DEADLINE)
        elif next(num_short) == 2:
            short_are_done.set()
        return result(pending)

    requests = [
        PredictionRequest(LONG, cache=CacheConfig()),
        PredictionRequest("the", deny=["a"] * 200),
        PredictionRequest("the", cache=CacheConfig()),
        PredictionRequest(LONG),
    ]
    expected = [
        small_engine().predict(request.text, deny=request.deny, cache=request.cache).suggestions for request in requests
    ]
    monkeypatch.setattr(PendingPrediction, "result", wait_if_long)
    # the two long rankings hold a thread each; the prefill of the last text needs a third
    results, _ = predict_all(caching_engine(GatedBackend()), requests, threads=3)
    for actual, suggestions in zip(results, expected, strict=True):
        assert isinstance(actual, Prediction)
        assert [s.word for s in actual.suggestions] == [s.word for s in suggestions]


def test_failed_step_fails_its_batch_and_no_later_one() -> None:
    backend = GatedBackend()
    engine = caching_engine(backend)
    backend.broken = True
    results, _ = predict_all(engine, [PredictionRequest("the"), PredictionRequest("cat")])
    assert [str(error) for error in results] == ["broken", "broken"]
    backend.broken = False
    results, _ = predict_all(engine, [PredictionRequest("the"), PredictionRequest("cat")])
    assert all(isinstance(result, Prediction) for result in results)


def test_bad_request_does_not_fail_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = caching_engine(GatedBackend())
    lookup = engine.prefix_cache.lookup

    def failing_lookup(ids: Sequence[int], features: bool = False) -> object:
        if len(ids) == 4:
            raise RuntimeError("three words are too many")
        return lookup(ids, features)

    monkeypatch.setattr(engine.prefix_cache, "lookup", failing_lookup)
    results, sizes = predict_all(
        engine,
        [
            PredictionRequest("the"),
            PredictionRequest("the cat of"),
            PredictionRequest("the cat"),
            PredictionRequest("the", k=0),
        ],
    )
    assert [isinstance(result, Prediction) for result in results] == [True, False, True, False]
    assert str(results[1]) == "three words are too many"
    assert isinstance(results[3], ConfigError)
    assert sizes == [3]


class Item:
    """A batch item for one batch."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.result: str | Exception | None = None
        self.done = anyio.Event()

    def should_continue(self, result: str) -> bool:
        if self.fails:
            raise RuntimeError(f"no decision after {result}")
        return False

    def deliver(self, result: str | Exception, _should_continue: bool) -> None:
        self.result = result
        self.done.set()


def test_item_that_raises_leaves_no_other_waiting() -> None:
    async def scenario() -> list[str]:
        batcher = DynamicBatcher[Item](lambda batch: ["yes"] * len(batch), 8, lambda _: None)
        results = []
        for items in ([Item(False), Item(True)], [Item(False)]):
            with anyio.fail_after(DEADLINE):
                for item in items:
                    batcher.submit(item)
                for item in items:
                    await item.done.wait()
            results += [str(item.result) for item in items]
        return results

    assert anyio.run(scenario) == ["no decision after yes"] * 2 + ["yes"]
