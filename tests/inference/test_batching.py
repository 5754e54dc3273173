"""Steps that callers share give each the answer that it would have had alone."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile

import numpy as np
import pytest
from numpy.typing import NDArray
from small_models import PRESETS, small_engine, small_network

from lstm_lm.inference.backend import State
from lstm_lm.inference.batching import SharedSteps
from lstm_lm.inference.continuing import next_words, read_together
from lstm_lm.inference.spec import SamplingSpec
from lstm_lm.inference.torch_backend import TorchBackend

Answer = tuple[NDArray[np.float32], State]


class GatedBackend(TorchBackend):
    """Notes how many texts and words each step has, and waits at a gate while it is closed."""

    def __init__(self) -> None:
        super().__init__(small_network())
        self.steps: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.broken = False

    def step(self, input_ids: NDArray[np.int64], state: State) -> Answer:
        rows, words = input_ids.shape
        self.steps.append((rows, words))
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("broken")
        return super().step(input_ids, state)


def ids(length: int, seed: int, rows: int = 1) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, 40, (rows, length))


def start(shared: SharedSteps, threads: ThreadPoolExecutor, texts: list[NDArray[np.int64]]) -> list[Future[Answer]]:
    """Steps in threads, in this order."""
    started = []
    for text in texts:
        started.append(threads.submit(shared.step, text, shared.initial_state(len(text))))
        time.sleep(0.02)
    return started


def test_what_arrives_during_a_step_is_the_next_step_and_everyone_gets_their_own_answer() -> None:
    backend, alone = GatedBackend(), TorchBackend(small_network())
    sizes: list[int] = []
    shared = SharedSteps(backend, max_batch=4, observe=sizes.append)
    texts = [ids(1, seed, rows) for seed, rows in enumerate((1, 1, 2, 1, 1, 3))]
    with ThreadPoolExecutor(8) as threads:
        answers = start(shared, threads, texts)
        backend.gate.set()
        for text, answer in zip(texts, answers, strict=True):
            logits, state = answer.result()
            expected_logits, expected_state = alone.step(text, alone.initial_state(len(text)))
            assert logits == pytest.approx(expected_logits, abs=1e-5)
            for part, expected in zip(state, expected_state, strict=True):
                assert part == pytest.approx(expected, abs=1e-5)
    assert backend.steps == [(1, 1), (4, 1), (4, 1)]
    assert sizes == [1, 4, 4]


def test_single_words_do_not_wait_for_longer_texts_and_lengths_do_not_mix() -> None:
    backend = GatedBackend()
    shared = SharedSteps(backend)
    with ThreadPoolExecutor(8) as threads:
        answers = start(shared, threads, [ids(n, n) for n in (5, 1, 3, 5, 3)])
        # the first text and the word are at the gate already, side by side
        assert backend.steps == [(1, 5), (1, 1)]
        backend.gate.set()
        assert [answer.result()[0].shape for answer in answers] == [(1, backend.vocab_size)] * 5
    assert sorted(backend.steps[2:]) == [(1, 5), (2, 3)]


def test_an_error_reaches_all_who_shared_the_step_and_nobody_else() -> None:
    backend = GatedBackend()
    backend.broken = True
    shared = SharedSteps(backend)
    with ThreadPoolExecutor(8) as threads:
        answers = start(shared, threads, [ids(1, seed) for seed in range(4)])
        backend.gate.set()
        for answer in answers:
            with pytest.raises(RuntimeError, match="broken"):
                answer.result()
        backend.broken = False
        assert len(backend.steps) == 2
        (answer,) = start(shared, threads, [ids(1, 0)])
        assert answer.result()[0].shape == (1, backend.vocab_size)


def test_many_threads_get_through() -> None:
    backend = GatedBackend()
    backend.gate.set()
    shared = SharedSteps(backend, max_batch=3)
    with ThreadPoolExecutor(16) as threads:
        texts = [ids(1 + seed % 3, seed) for seed in range(300)]
        for answer in [threads.submit(shared.step, text, shared.initial_state(1)) for text in texts]:
            answer.result(20)
    assert sum(rows for rows, _ in backend.steps) == 300
    assert max(rows for rows, _ in backend.steps) <= 3


def test_texts_that_go_on_together_are_the_texts_that_would_have_gone_on_alone() -> None:
    engine = small_engine()
    requests = [
        (prompt, SamplingSpec(**{**vars(preset), "seed": seed}), words)
        for seed, (prompt, preset) in enumerate(
            [("the cat", PRESETS["greedy"]), ("I want", PRESETS["balanced"]), ("", PRESETS["creative"])] * 2
        )
        for words in (1, 7, 12)
    ]
    texts = [engine.begin(*request) for request in requests]
    words: list[list[str | None]] = [[] for _ in texts]
    for _ in range(13):
        if unread := [text for text in texts if text.unread]:
            read_together(engine.backend, unread)
        for own, word in zip(words, next_words(texts), strict=True):
            own.append(word)
    assert all(text.ended for text in texts)
    for request, own in zip(requests, words, strict=True):
        assert list(takewhile(lambda word: word is not None, own)) == list(engine.stream(*request))
