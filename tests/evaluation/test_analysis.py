"""Token scores and what is computed from them: buckets, calibration, words, paired differences."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_streams import VOCABULARY, network, stream

from lstm_lm.data.streams import EvalWindows
from lstm_lm.errors import DataError, EvaluationError
from lstm_lm.evaluation.analysis import by_frequency, by_position, calibration, compare_paired, hardest_and_easiest
from lstm_lm.evaluation.forward import eval_mode, window_features
from lstm_lm.evaluation.score import ScoreMetric, WindowScores, join_windows
from lstm_lm.evaluation.token_scores import TokenScores


def token_scores(
    length: int, batch_size: int = 3, window_length: int = 7, num_windows: int | None = None
) -> TokenScores:
    """Scores of a random split under a random network."""
    ids, model = stream(length), network()
    windows = EvalWindows(ids, 3, 7, VOCABULARY.eos_id)
    metric, scores = ScoreMetric(VOCABULARY), []
    with eval_mode(model):
        for window, features in window_features(model, windows):
            scores.append(metric.update_window(model, features, window))
    return join_windows(scores[:num_windows], ids, windows.stream_length, VOCABULARY)


def synthetic(nll: np.ndarray, articles: np.ndarray) -> TokenScores:
    """Scores with given losses; everything else is 0."""
    zeros = np.zeros(len(nll), dtype=np.int32)
    return TokenScores(np.arange(len(nll)), zeros, nll.astype(np.float32), nll, zeros, zeros, articles, len(nll))


@pytest.mark.parametrize("length", [60, 61, 62])
def test_every_token_is_there_once_in_the_order_of_the_text(length: int) -> None:
    scores = token_scores(length)
    assert np.array_equal(scores.positions, np.arange(length))
    assert np.array_equal(scores.ids, stream(length))


def test_a_part_of_the_windows_scores_the_first_tokens_of_each_stream() -> None:
    scores, whole = token_scores(60, num_windows=2), token_scores(60)
    assert np.array_equal(scores.positions, [*range(14), *range(20, 34), *range(40, 54)])
    assert np.array_equal(scores.nll, whole.nll[scores.positions])
    assert scores.split_tokens == 60


def test_confidence_is_the_largest_probability_and_rank_0_has_it() -> None:
    ids, model = stream(50), network()
    (window,) = EvalWindows(ids, 1, 50, VOCABULARY.eos_id)
    with eval_mode(model):
        ((_, features),) = window_features(model, [window])
        scores: WindowScores = ScoreMetric(VOCABULARY).update_window(model, features, window)
        probabilities = model.logits(features[0]).softmax(dim=1)
    torch.testing.assert_close(scores.confidence[0], probabilities.amax(dim=1))
    assert torch.equal(scores.rank[0] == 0, probabilities.argmax(dim=1) == window.target_ids[0])


def test_line_positions_count_from_the_last_line_end() -> None:
    scores = token_scores(80)
    expected, position = [], 0
    for token in scores.ids:
        expected.append(position)
        position = 0 if token == VOCABULARY.eos_id else position + 1
    assert scores.line_positions.tolist() == expected


def test_buckets_partition_the_tokens() -> None:
    scores = token_scores(500)
    for rows in (by_frequency(scores, len(VOCABULARY)), by_position(scores)):
        assert sum(row.tokens for row in rows) == 500
        total = sum(row.tokens * math.log(row.perplexity) for row in rows)
        assert total == pytest.approx(float(scores.nll.sum()), rel=1e-5)


def test_frequency_buckets_use_the_rank_in_train() -> None:
    scores = replace(token_scores(4), ids=np.array([0, 9, 10, 99], dtype=np.int32))
    assert [(row.label, row.tokens) for row in by_frequency(scores, 100)] == [("1-10", 2), ("11-100", 2)]


def test_calibration_error_is_0_if_confidence_equals_accuracy() -> None:
    confidence = np.repeat([0.2, 0.75], 20).astype(np.float32)
    rank = np.array([0] * 4 + [1] * 16 + [0] * 15 + [1] * 5, dtype=np.int32)
    scores = replace(synthetic(np.zeros(40), np.zeros(40, dtype=np.int32)), confidence=confidence, rank=rank)
    assert calibration(scores).expected_error == pytest.approx(0.0, abs=1e-7)
    assert calibration(replace(scores, rank=np.ones(40, dtype=np.int32))).expected_error == pytest.approx(0.475)


def test_rare_words_are_neither_hard_nor_easy() -> None:
    words = ["a", "b", "c"]
    ids = np.repeat([0, 1, 2], [20, 20, 9]).astype(np.int32)
    nll = np.repeat([1.0, 5.0, 9.0], [20, 20, 9])
    scores = replace(synthetic(nll, np.zeros(49, dtype=np.int32)), ids=ids)
    hardest, easiest = hardest_and_easiest(scores, words)
    assert [entry.word for entry in hardest] == ["b", "a"]
    assert [entry.word for entry in easiest] == ["a", "b"]


def test_scores_survive_a_file(tmp_path: Path) -> None:
    scores = token_scores(60)
    scores.save(tmp_path / "scores.npz")
    loaded = TokenScores.load(tmp_path / "scores.npz")
    assert np.array_equal(loaded.nll, scores.nll)
    assert loaded.split_tokens == 60


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"no archive"])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "scores.npz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"scores\.npz: is not a file of token scores"):
        TokenScores.load(file)


def test_equal_difference_in_every_article_is_significant() -> None:
    rng = np.random.default_rng(0)
    articles = np.repeat(np.arange(20), 50).astype(np.int32)
    losses = rng.normal(5.0, 2.0, size=1000)  # the text varies much more than the models differ
    difference = compare_paired(synthetic(losses + 0.01, articles), synthetic(losses, articles))
    assert difference.ratio == pytest.approx(math.exp(0.01), rel=1e-5)
    assert difference.is_significant
    assert difference.articles == 20


def test_difference_that_changes_its_sign_between_articles_is_not() -> None:
    articles = np.repeat(np.arange(20), 50).astype(np.int32)
    losses = np.full(1000, 5.0)
    other = losses + np.where(articles % 2, 0.1, -0.1)
    assert not compare_paired(synthetic(other, articles), synthetic(losses, articles)).is_significant


def test_runs_on_different_text_are_not_compared() -> None:
    scores = token_scores(60)
    with pytest.raises(EvaluationError, match="different text"):
        compare_paired(scores, replace(scores, ids=scores.ids[::-1]))
