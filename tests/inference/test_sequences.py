"""Texts that go on together."""

from itertools import takewhile

from small_models import PRESETS, small_engine

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.sequences import sample_next, step_batch


def test_texts_that_go_on_together_are_the_texts_that_would_have_gone_on_alone() -> None:
    engine = small_engine()
    requests = [
        (prompt, SamplingConfig(**{**vars(preset), "seed": seed}), words)
        for seed, (prompt, preset) in enumerate(
            [("the cat", PRESETS["greedy"]), ("I want", PRESETS["balanced"]), ("", PRESETS["creative"])] * 2
        )
        for words in (1, 7, 12)
    ]
    texts = [engine.start_generation(*request) for request in requests]
    words: list[list[str | None]] = [[] for _ in texts]
    for _ in range(13):
        if needs_step := [text for text in texts if text.needs_step]:
            step_batch(engine.backend, needs_step)
        for own, word in zip(words, sample_next(texts), strict=True):
            own.append(word)
    assert all(text.finished for text in texts)
    for request, own in zip(requests, words, strict=True):
        assert list(takewhile(lambda word: word is not None, own)) == list(engine.stream(*request))
