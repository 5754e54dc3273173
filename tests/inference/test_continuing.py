"""Texts that go on together."""

from itertools import takewhile

from small_models import PRESETS, small_engine

from lstm_lm.inference.continuing import next_words, read_together
from lstm_lm.inference.spec import SamplingSpec


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
