"""The neural cache: by hand, causal, independent of block size; and its search agrees with its score."""

import math

import numpy as np
import pytest
import torch
from helpers.small_streams import VOCABULARY, network, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lstm_lm.evaluation.cache import NeuralCache
from lstm_lm.evaluation.cache_search import search_cache, target_masses
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.forward import eval_mode, stream_features
from lstm_lm.evaluation.static import evaluate_static
from lstm_lm.evaluation.stream import evaluate_stream

SETTINGS = {"cache_window": 20, "cache_theta": 0.7, "cache_weight": 0.3}


def interpolate(ids: np.ndarray, settings: dict[str, float], block: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixtures (N, V) and losses (N,) of a stream."""
    model = network()
    cache = NeuralCache.from_settings(settings)
    mixtures, nlls = [], []
    with eval_mode(model):
        for features, targets in stream_features(model, ids, block, VOCABULARY.eos_id):
            mixture, nll = cache.interpolate(F.log_softmax(model.logits(features), dim=1), features, targets)
            mixtures.append(mixture)
            nlls.append(nll)
    return torch.cat(mixtures), torch.cat(nlls)


def by_hand(ids: np.ndarray, settings: dict[str, float]) -> torch.Tensor:
    """Mixtures (N, V) by the formula, word by word, in float64."""
    model = network()
    with eval_mode(model):
        ((features, _),) = [*stream_features(model, ids, len(ids), VOCABULARY.eos_id)]
        probs = model.logits(features).double().softmax(dim=1)
    features, rows = features.double(), []
    for position in range(len(ids)):
        window = int(settings["cache_window"]) or len(ids)
        past = range(max(0, position - window), position)
        if not past:
            rows.append(probs[position])
            continue
        scores = torch.tensor([settings["cache_theta"] * float(features[position] @ features[i]) for i in past])
        cached = torch.zeros(len(VOCABULARY), dtype=torch.float64)
        for i, share in zip(past, scores.double().softmax(dim=0).tolist(), strict=True):
            cached[ids[i]] += share
        rows.append((1 - settings["cache_weight"]) * probs[position] + settings["cache_weight"] * cached)
    return torch.stack(rows)


@pytest.mark.parametrize("window", [1, 7, 20, 500, 0])
@pytest.mark.parametrize("block", [1, 5, 16, 200])
def test_mixture_by_hand_for_any_block_size(window: int, block: int) -> None:
    ids, settings = stream(90), {**SETTINGS, "cache_window": window}
    mixtures, nll = interpolate(ids, settings, block)
    expected = by_hand(ids, settings)
    assert torch.allclose(mixtures.double(), expected, atol=1e-6)
    assert torch.allclose(mixtures.sum(dim=1), torch.ones(90), atol=1e-5)
    assert torch.allclose(nll.double(), -expected[torch.arange(90), torch.from_numpy(ids).long()].log(), atol=1e-5)


def test_two_words_by_hand() -> None:
    cache = NeuralCache(window=10, theta=2.0, weight=0.25)
    features, words = torch.tensor([[1.0], [0.5], [1.0]]), torch.tensor([2, 0, 2])
    probs = torch.tensor([[0.5, 0.2, 0.3]]).repeat(3, 1)
    mixture, nll = cache.interpolate(probs.log(), features, words)
    assert mixture[0].tolist() == pytest.approx([0.5, 0.2, 0.3])
    assert mixture[1].tolist() == pytest.approx([0.375, 0.15, 0.225 + 0.25])
    # before the third word: word 2 was at a feature of 1.0, word 0 at 0.5; scores 2 and 1
    share = 1 / (1 + math.exp(-1))
    assert mixture[2].tolist() == pytest.approx([0.375 + 0.25 * (1 - share), 0.15, 0.225 + 0.25 * share])
    assert nll.tolist() == pytest.approx([-math.log(mixture[i, w]) for i, w in enumerate(words.tolist())])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 39), st.integers(0, 7), st.integers(1, 50))
def test_later_words_do_not_change_earlier_probabilities(position: int, word: int, block: int) -> None:
    ids = stream(40)
    changed = ids.copy()
    changed[position] = word
    (before, nll), (after, other_nll) = interpolate(ids, SETTINGS, block), interpolate(changed, SETTINGS, block)
    # the changed word has another loss but the same distribution
    assert torch.allclose(before[: position + 1], after[: position + 1], atol=1e-6)
    assert torch.allclose(nll[:position], other_nll[:position], atol=1e-6)


def test_weight_0_is_static() -> None:
    static = evaluate_static(network(), stream(300), VOCABULARY, EvaluationConfig())
    score = evaluate_stream(
        network(), stream(300), VOCABULARY, EvaluationConfig(name="cache"), {**SETTINGS, "cache_weight": 0.0}
    )
    assert score.loss == pytest.approx(static.loss, abs=1e-6)
    assert (score.tokens, score.top1, score.top3, score.words) == (300, static.top1, static.top3, static.words)


def test_score_is_the_loss_of_the_mixture() -> None:
    ids = stream(300)
    score = evaluate_stream(network().train(), ids, VOCABULARY, EvaluationConfig(name="cache"), SETTINGS)
    mixtures = by_hand(ids, SETTINGS)
    targets = torch.from_numpy(ids).long()
    assert score.loss == pytest.approx(-float(mixtures[torch.arange(300), targets].log().mean()), abs=1e-5)
    assert score.top1 == pytest.approx(float((mixtures.argmax(dim=1) == targets).double().mean()))


def test_evaluation_keeps_mode_and_weights() -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate_stream(model, stream(100), VOCABULARY, EvaluationConfig(name="cache"), SETTINGS)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_loss_is_finite_when_a_probability_underflows() -> None:
    cache = NeuralCache(window=10, theta=1.0, weight=0.5)
    logits = torch.tensor([[0.0, 500.0], [0.0, 500.0]])
    _, nll = cache.interpolate(F.log_softmax(logits, dim=1), torch.ones(2, 1), torch.tensor([0, 0]))
    assert nll.tolist() == pytest.approx([500.0, math.log(2.0)])


def compute_features(ids: np.ndarray) -> torch.Tensor:
    model = network()
    with eval_mode(model):
        return torch.cat([features for features, _ in stream_features(model, ids, 32, VOCABULARY.eos_id)])


def test_search_computes_the_probabilities_of_the_score() -> None:
    ids = stream(150)
    features, words = compute_features(ids), torch.from_numpy(ids).long()
    windows, thetas = [3, 20, 0], [0.0, 0.4, 5.0]
    masses = torch.cat(
        [target_masses(features, words, begin, min(begin + 40, 150), thetas, windows) for begin in range(0, 150, 40)],
        dim=2,
    )
    for row, theta in enumerate(thetas):
        for column, window in enumerate(windows):
            settings = {"cache_window": window, "cache_theta": theta, "cache_weight": 1.0}
            expected = by_hand(ids, settings)[torch.arange(150), words]
            assert torch.allclose(masses[row, column, 1:].double(), expected[1:], atol=1e-5)
            assert masses[row, column, 0] == 0


def test_search_finds_the_best_settings_and_keeps_given_ones() -> None:
    # words repeat after 40 positions, so a window of at least 40 helps
    ids = np.tile(stream(40), 30)
    features, words = compute_features(ids), torch.from_numpy(ids).long()
    static = evaluate_static(network(), ids, VOCABULARY, EvaluationConfig())
    nll = torch.full((len(ids),), static.loss)
    stages: list[str] = []
    best_settings = search_cache(features, words, nll, {}, lambda stage, *_: stages.append(stage))
    config = EvaluationConfig(name="cache")
    best = evaluate_stream(network(), ids, VOCABULARY, config, best_settings).loss
    assert best < static.loss
    for name, factor in (("cache_theta", 0.25), ("cache_window", 0.2), ("cache_weight", 0.2)):
        other = {**best_settings, name: type(best_settings[name])(best_settings[name] * factor)}
        assert evaluate_stream(network(), ids, VOCABULARY, config, other).loss > best - 0.02
    assert set(stages) == {"cache search, first pass", "cache search"}
    fixed = search_cache(features, words, nll, {"cache_theta": 0.3, "cache_window": 77}, lambda *_: None)
    assert (fixed["cache_theta"], fixed["cache_window"]) == (0.3, 77)
