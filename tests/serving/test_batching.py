"""Predictions that share a step are those that each would have had alone."""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import numpy as np
import pytest
from numpy.typing import NDArray
from small_models import PRESETS, WORDS, small_engine, small_network, small_vocabulary

from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import State
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.prediction import PendingPrediction, Prediction, PredictionRequest
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.serving.batching import DynamicBatcher
from lstm_lm.serving.pool import InferenceThreadPool
from lstm_lm.serving.predictions import PredictionBatcher

LONG = " ".join(WORDS[2:7] * 100)


class GatedBackend(TorchBackend):
    """Notes the texts and words of each step, and lets calls wait at a gate while it is closed."""

    def __init__(self) -> None:
        super().__init__(small_network())
        self.steps: list[tuple[int, int]] = []
        self.reads: list[int] = []
        self.step_gate, self.read_gate = threading.Event(), threading.Event()
        self.step_gate.set()
        self.read_gate.set()
        self.broken = False

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        self.steps.append((input_ids.shape[0], input_ids.shape[1]))
        assert self.step_gate.wait(10)
        if self.broken:
            raise RuntimeError("broken")
        return super().step(input_ids, state)

    def read(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        assert self.read_gate.wait(10)
        self.reads.append(input_ids.shape[1])
        return super().read(input_ids, state)


def remembering(backend: GatedBackend) -> Engine:
    """An engine as the service has it: with states of prefixes."""
    return Engine(backend, small_vocabulary(), PRESETS, "balanced", prefix_cache_size=100)


def ask_all(
    engine: Engine,
    wanted: Sequence[PredictionRequest],
    meanwhile: Callable[[list[Prediction | Exception | None]], None] = lambda _: None,
    max_batch: int = 32,
    threads: int = 2,
) -> tuple[list[Prediction | Exception | None], list[int]]:
    """The answers to questions asked at the same time, and the sizes of the rounds.

    Args:
        engine: Gives the answers.
        wanted: The questions.
        meanwhile: Called with the answers so far as soon as nothing moves any more.
        max_batch: Most questions in a round.
        threads: Of the pool.
    """
    sizes: list[int] = []
    found: list[Prediction | Exception | None] = [None] * len(wanted)

    async def ask(predictions: PredictionBatcher, place: int) -> None:
        try:
            found[place] = await predictions.predict(wanted[place])
        except (RuntimeError, ConfigError) as error:
            found[place] = error

    async def run() -> None:
        predictions = PredictionBatcher(engine, InferenceThreadPool(threads), max_batch, sizes.append)
        async with anyio.create_task_group() as tasks:
            for place in range(len(wanted)):
                tasks.start_soon(ask, predictions, place)
            await anyio.sleep(0.3)
            meanwhile(found)

    anyio.run(run)
    return found, sizes


def test_questions_that_share_a_step_get_the_answers_they_would_have_had_alone() -> None:
    alone, backend = small_engine(), GatedBackend()
    shared = remembering(backend)
    wanted = [
        PredictionRequest(text, k, prefix, cache=cache)
        for text in ("", "the", "the cat", "Xyzzy the", LONG, "of the cat in the city of the river .", "the")
        for k, prefix, cache in ((3, "", None), (10, "t", None), (5, "", CacheConfig()))
    ]
    for _ in range(2):  # with nothing known, and with everything
        found, _ = ask_all(shared, wanted)
        for one, answer in zip(wanted, found, strict=True):
            expected = alone.predict(one.text, one.k, one.prefix, cache=one.cache)
            assert isinstance(answer, Prediction)
            assert answer.unknown_words == expected.unknown_words
            assert [s.word for s in answer.suggestions] == [s.word for s in expected.suggestions]
            assert [s.probability for s in answer.suggestions] == pytest.approx(
                [s.probability for s in expected.suggestions], abs=1e-5
            )
    assert max(rows for rows, _ in backend.steps) > 4


def test_what_arrives_during_a_round_is_the_next_round_of_at_most_its_size() -> None:
    backend = GatedBackend()
    backend.step_gate.clear()
    engine = remembering(backend)
    _, sizes = ask_all(
        engine, [PredictionRequest(word) for word in WORDS[2:9]], lambda _: backend.step_gate.set(), max_batch=4
    )
    assert sizes == [4, 3]
    assert [rows for rows, _ in backend.steps] == [4, 3]


def test_who_types_does_not_wait_for_a_long_text_to_be_read() -> None:
    backend = GatedBackend()
    engine = remembering(backend)
    engine.predict("the old")
    backend.read_gate.clear()
    long, typed = "the cat of the river in the city", "the old river"
    assert len(long) < 1000 < len(LONG)

    def look(found: list[Prediction | Exception | None]) -> None:
        assert [answer is None for answer in found] == [True, False, True]
        backend.read_gate.set()

    found, _ = ask_all(engine, [PredictionRequest(long), PredictionRequest(typed), PredictionRequest(LONG)], look)
    assert all(isinstance(answer, Prediction) for answer in found)


def test_a_short_text_waits_for_a_part_of_each_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, calls, run = GatedBackend(), itertools.count(1), InferenceThreadPool.run
    backend.read_gate.clear()

    async def noting_run(*arguments: Any) -> Any:
        if next(calls) == 3:  # all three are there, the short text last
            backend.read_gate.set()
        return await run(*arguments)

    monkeypatch.setattr(InferenceThreadPool, "run", noting_run)
    long = [PredictionRequest(" ".join(WORDS[start : start + 5] * 100)) for start in (5, 12)]
    found, _ = ask_all(remembering(backend), [*long, PredictionRequest("the cat of the river in")], threads=1)
    assert all(isinstance(answer, Prediction) for answer in found)
    # 64 words of each long text, then <eos> and all words of the short one but the last
    assert backend.reads[:5] == [32, 32, 32, 32, 6]
    assert len(backend.reads) > 30


def test_nobody_waits_for_the_words_of_a_long_cache_to_be_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    both_short, num_short, answer = threading.Event(), itertools.count(1), PendingPrediction.answer

    def noting_answer(question: PendingPrediction) -> Prediction:
        if question.ranking_size() > 100:
            assert both_short.wait(10)
        elif next(num_short) == 2:
            both_short.set()
        return answer(question)

    wanted = [
        PredictionRequest(LONG, cache=CacheConfig()),
        PredictionRequest("the", deny=["a"] * 200),
        PredictionRequest("the", cache=CacheConfig()),
        PredictionRequest(LONG),
    ]
    expected = [small_engine().predict(one.text, deny=one.deny, cache=one.cache) for one in wanted]
    monkeypatch.setattr(PendingPrediction, "answer", noting_answer)
    found, _ = ask_all(remembering(GatedBackend()), wanted)
    for one, given in zip(expected, found, strict=True):
        assert isinstance(given, Prediction)
        assert [s.word for s in given.suggestions] == [s.word for s in one.suggestions]


def test_an_error_reaches_all_who_shared_the_step_and_nobody_after_them() -> None:
    backend = GatedBackend()
    engine = remembering(backend)
    backend.broken = True
    found, _ = ask_all(engine, [PredictionRequest("the"), PredictionRequest("cat")])
    assert [str(error) for error in found] == ["broken", "broken"]
    backend.broken = False
    found, _ = ask_all(engine, [PredictionRequest("the"), PredictionRequest("cat")])
    assert all(isinstance(answer, Prediction) for answer in found)


def test_a_text_that_cannot_be_read_is_nobody_elses_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = remembering(GatedBackend())
    opened = engine.prefix_cache.lookup

    def fragile(ids: Sequence[int], features: bool = False) -> object:
        if len(ids) == 4:
            raise RuntimeError("three words are too many")
        return opened(ids, features)

    monkeypatch.setattr(engine.prefix_cache, "lookup", fragile)
    found, sizes = ask_all(
        engine,
        [
            PredictionRequest("the"),
            PredictionRequest("the cat of"),
            PredictionRequest("the cat"),
            PredictionRequest("the", k=0),
        ],
    )
    assert [isinstance(answer, Prediction) for answer in found] == [True, False, True, False]
    assert str(found[1]) == "three words are too many"
    assert isinstance(found[3], ConfigError)
    assert sizes == [3]


class Asker:
    """A member that is there for one round."""

    def __init__(self, unsure: bool) -> None:
        self.unsure = unsure
        self.result: str | Exception | None = None
        self.done = anyio.Event()

    def should_continue(self, result: str) -> bool:
        if self.unsure:
            raise RuntimeError(f"does {result} mean to go on?")
        return False

    def deliver(self, result: str | Exception, _goes_on: bool) -> None:
        self.result = result
        self.done.set()


def test_a_member_that_breaks_a_round_leaves_nobody_waiting() -> None:
    async def scenario() -> list[str]:
        rounds = DynamicBatcher[Asker](lambda batch: ["yes"] * len(batch), 8, lambda _: None)
        heard = []
        for together in ([Asker(False), Asker(True)], [Asker(False)]):
            with anyio.fail_after(10):
                for asker in together:
                    rounds.add(asker)
                for asker in together:
                    await asker.done.wait()
            heard += [str(asker.result) for asker in together]
        return heard

    assert anyio.run(scenario) == ["does yes mean to go on?"] * 2 + ["yes"]
