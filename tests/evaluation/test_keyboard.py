"""Keystroke savings: by hand, and compared to the engine's suggestions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.small_models import small_engine, small_network, small_vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_lm.errors import DataError
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.keyboard import KeyboardScore, SuggestionBar, TypedWord, evaluate_keyboard, keyboard_score
from lstm_lm.text.candidates import is_word
from lstm_lm.text.vocabulary import Vocabulary

NETWORK = small_network()
ENGINE = small_engine(NETWORK)
VOCABULARY = small_vocabulary()
SPECIAL = (VOCABULARY.unk_id, VOCABULARY.eos_id)


def keyboard(ids: list[int], **config: int) -> KeyboardScore:
    return evaluate_keyboard(
        NETWORK, np.array(ids, dtype=np.int32), VOCABULARY, EvaluationConfig(name="keyboard", **config)
    )


def stream(length: int) -> list[int]:
    return np.random.default_rng(1).integers(len(VOCABULARY), size=length).tolist()


def keyboard_with_engine(ids: list[int]) -> KeyboardScore:
    """The score from ``Engine.predict`` after every letter."""
    typed = []
    tokens = [VOCABULARY.word(i) for i in ids]
    for position, word in enumerate(tokens):
        if ids[position] in SPECIAL or not is_word(word):
            continue
        text = "".join("\n" if i == VOCABULARY.eos_id else f"{VOCABULARY.word(i)} " for i in ids[:position])
        suggestions = [
            [s.word for s in ENGINE.predict(text, 3, word[:letters], words_only=True).suggestions]
            for letters in range(len(word))
        ]
        letters_typed = next((letters for letters, words in enumerate(suggestions) if word in words), None)
        rank = suggestions[0].index(word) if word in suggestions[0] else None
        typed.append(TypedWord(len(word), rank, letters_typed))
    return keyboard_score(typed, len(ids))


# a typed apostrophe opens a quote after a space, so the engine would not complete "'s" alone
TYPED_IDS = [i for i, word in enumerate(VOCABULARY.words) if not word.startswith("'")]


@given(st.lists(st.sampled_from(TYPED_IDS) | st.just(VOCABULARY.id("don")), min_size=1, max_size=8))
@settings(deadline=None, max_examples=25)
def test_a_word_is_accepted_when_the_engine_suggests_it(ids: list[int]) -> None:
    assert keyboard(ids) == keyboard_with_engine(ids)


def test_keystrokes_by_hand() -> None:
    words = ["the", "then", "them", "theatre", ".", "<unk>", "<eos>"]
    vocabulary = Vocabulary(words, range(len(words), 0, -1))
    logits = np.array([4.0, 3.0, 2.0, 1.0, 9.0, 9.0, 9.0], dtype=np.float32)
    bar = SuggestionBar(vocabulary)
    assert [bar.type_word(word, False, logits) for word in words[:4]] == [
        TypedWord(3, 0, 0),
        TypedWord(4, 1, 0),
        TypedWord(4, 2, 0),
        TypedWord(7, 3, 3),  # "the" itself leaves its place
    ]
    score = keyboard_score([bar.type_word(word, False, logits) for word in words[:4]], 7)
    # 4 + 5 + 5 + 8 keystrokes, against 1 + 1 + 1 + ("the" and one to accept)
    assert (score.keystrokes, score.keystrokes_with_suggestions) == (22, 7)
    assert score.keystroke_savings_rate == pytest.approx(15 / 22)
    assert (score.tokens, score.words.tokens, score.words.top1, score.words.top3) == (7, 4, 0.25, 0.75)
    assert score.taken == 1.0
    # at the start of a sentence the suggestion is capitalized, unlike the word of the corpus
    assert bar.type_word("the", True, logits) == TypedWord(3, None, None)
    assert bar.type_word("the", True, logits).keystrokes == 4


def test_a_contraction_is_one_word() -> None:
    score = keyboard(VOCABULARY.encode(["I", "don", "'t"]))
    assert (score.tokens, score.words.tokens, score.keystrokes) == (3, 2, len("I don't "))


@given(st.integers(1, 40), st.integers(1, 5))
@settings(deadline=None, max_examples=20)
def test_score_does_not_depend_on_the_window_and_every_word_counts(window: int, batch_size: int) -> None:
    ids = stream(60)
    assert keyboard(ids, window_length=window) == keyboard(ids)
    score = keyboard(ids, window_length=window, batch_size=batch_size)
    assert score.tokens == 60
    contractions = sum(pair == (VOCABULARY.id("don"), VOCABULARY.id("'t")) for pair in pairwise(ids))
    assert score.words.tokens == sum(i not in SPECIAL and is_word(VOCABULARY.word(i)) for i in ids) - contractions
    assert score.keystrokes == keyboard(ids).keystrokes


def test_suggestions_never_cost_keystrokes() -> None:
    score = keyboard(stream(300))
    assert 0.0 < score.keystroke_savings_rate < 1.0
    assert score.words.top1 <= score.words.top3 <= score.taken
    assert keyboard([VOCABULARY.eos_id]).keystroke_savings_rate == 0.0


def test_evaluation_keeps_mode_and_weights_and_reports_progress() -> None:
    model, seen = small_network().train(), []
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = np.array(stream(100), dtype=np.int32)
    config = EvaluationConfig(name="keyboard", window_length=40)
    evaluate_keyboard(model, ids, VOCABULARY, config, lambda *done: seen.append(done))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert seen == [(40, 100), (80, 100), (100, 100)]


def test_empty_split_is_rejected() -> None:
    with pytest.raises(DataError, match="empty"):
        keyboard([])
