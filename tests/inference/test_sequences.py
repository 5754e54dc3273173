"""Sequences generated in one batch."""

from itertools import takewhile

from helpers.small_models import PRESETS, small_engine

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.sequences import sample_next, step_batch


def test_batched_generation_equals_single_generation() -> None:
    engine = small_engine()
    requests = [
        (prompt, SamplingConfig(**{**vars(preset), "seed": seed}), words)
        for seed, (prompt, preset) in enumerate(
            [("the cat", PRESETS["greedy"]), ("I want", PRESETS["balanced"]), ("", PRESETS["creative"])] * 2
        )
        for words in (1, 7, 12)
    ]
    sequences = [engine.start_generation(*request) for request in requests]
    generated: list[list[str | None]] = [[] for _ in sequences]
    for _ in range(13):
        if needs_step := [sequence for sequence in sequences if sequence.needs_step]:
            step_batch(engine.backend, needs_step)
        for words, word in zip(generated, sample_next(sequences), strict=True):
            words.append(word)
    assert all(sequence.finished for sequence in sequences)
    for request, words in zip(requests, generated, strict=True):
        assert list(takewhile(lambda word: word is not None, words)) == list(engine.stream(*request))
