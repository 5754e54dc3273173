"""Dynamic evaluation: gradients match autograd, updates match the paper, and scores are causal."""

import copy

import numpy as np
import pytest
import torch
from helpers.small_streams import VOCABULARY, network, stream
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lstm_lm.errors import DataError, EvaluationError
from lstm_lm.evaluation.autograd_network import AutogradNetwork
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.dynamic import (
    DECAY_SEGMENTS,
    EPSILON,
    DynamicEvaluator,
    GradientRMS,
    gradient_rms,
)
from lstm_lm.evaluation.forward import ScoredWords
from lstm_lm.evaluation.graphs import Step
from lstm_lm.evaluation.manual_lstm import Gradient, ManualGradLSTM
from lstm_lm.evaluation.static import evaluate_static
from lstm_lm.evaluation.stream import evaluate_stream
from lstm_lm.nn.config import ModelConfig

CONFIG = EvaluationConfig(name="dynamic", window_length=9, gradient_windows=20)
SETTINGS = {"lr": 0.3, "decay": 0.02}
CACHE = {"cache_window": 20, "cache_theta": 0.7, "cache_weight": 0.3}


@pytest.fixture(scope="module")
def rms() -> GradientRMS:
    return gradient_rms(network(), stream(200, seed=7), VOCABULARY.eos_id, CONFIG)


def losses(ids: np.ndarray, rms: GradientRMS, settings: dict[str, float] | None = None) -> np.ndarray:
    dynamic = DynamicEvaluator(network(), rms, CONFIG.window_length)
    chunks = dynamic.score_stream(ids, VOCABULARY.eos_id, **(settings or SETTINGS))
    return np.concatenate([-chunk.target_log_probs.numpy() for chunk in chunks])


def moved_and_scored(dynamic: DynamicEvaluator, segments: int, decay: float) -> None:
    """Score so many segments of 9 words, add 0.5 to all weights, then score as many again."""
    dynamic.words_per_chunk = 9 * segments
    for number, _ in enumerate(dynamic.score_stream(stream(2 * 9 * segments), VOCABULARY.eos_id, lr=0.0, decay=decay)):
        if number == 0:
            for weight in dynamic._network.weights:
                weight += 0.5


def dense(network: ManualGradLSTM | AutogradNetwork, gradients: list[Gradient]) -> list[torch.Tensor]:
    """The gradients of whole weight tensors."""
    whole = [torch.zeros_like(weight) for weight in network.weights]
    for tensor, (rows, values) in zip(whole, gradients, strict=True):
        tensor[rows] = values
    return whole


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates of all rows after each segment, as in the paper."""
    monkeypatch.setattr("lstm_lm.evaluation.dynamic.MIN_COUNT", 0.0)
    monkeypatch.setattr("lstm_lm.evaluation.dynamic.DECAY_SEGMENTS", 1)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(6, [9, 7, 6]),
        ModelConfig(5, [4], tie_weights=False),
        ModelConfig(6, [6]),
        ModelConfig(6, [9, 6], cutoffs=[0.2, 0.5]),
        ModelConfig(5, [4], tie_weights=False, cutoffs=[0.4]),
    ],
    ids=str,
)
def test_loss_and_gradient_match_autograd(config: ModelConfig) -> None:
    model = network(config).train()
    manual = ManualGradLSTM(model, window_length=11)
    state, rng = model.initial_state(1), np.random.default_rng(0)
    for length in (11, 11, 4):  # the state is carried over, and the last segment is shorter
        inputs, targets = (torch.from_numpy(rng.integers(8, size=length)) for _ in range(2))
        features, state = model.features(inputs.unsqueeze(0), state.detach())
        logits = model.logits(features[0])
        model.zero_grad()
        F.cross_entropy(logits, targets).backward()
        segment = manual.forward(inputs, targets)
        assert torch.allclose(segment.log_probabilities, logits.log_softmax(dim=1), atol=1e-5)
        assert torch.allclose(-segment.target_log_probs, F.cross_entropy(logits, targets, reduction="none"), atol=1e-5)
        for parameter, gradient in zip(model.parameters(), dense(manual, manual.backward()), strict=True):
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, gradient, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("min_count", [0.0, 1.2])
def test_autograd_network_equals_the_hand_written_one(min_count: float, tied: bool) -> None:
    model = network(ModelConfig(6, [9, 7, 6], tie_weights=tied, cutoffs=[0.2, 0.5], input_dropout=0.5)).train()
    manual, autograd = ManualGradLSTM(model, 11), AutogradNetwork(model)
    rng = np.random.default_rng(0)
    for length in (11, 11, 4):
        inputs, targets = (torch.from_numpy(rng.integers(8, size=length)) for _ in range(2))
        expected, segment = manual.forward(inputs, targets), autograd.forward(inputs, targets)
        for name in ("features", "log_probabilities", "target_ids"):
            torch.testing.assert_close(getattr(segment, name), getattr(expected, name), atol=1e-5, rtol=1e-5)
        by_hand, gradients = dense(manual, manual.backward(min_count)), autograd.backward(min_count)
        torch.testing.assert_close(dense(autograd, gradients), by_hand, atol=1e-6, rtol=1e-5)
        for weights in (manual.weights, autograd.weights):  # as an update does
            for weight, gradient in zip(weights, by_hand, strict=True):
                weight -= 0.1 * gradient
    assert model.training


@pytest.mark.parametrize("cache", [{}, CACHE])
def test_dynamic_evaluation_by_autograd_gives_the_score_of_the_hand_written_path(
    cache: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, train_ids = stream(300), stream(200, seed=7)

    def loss() -> float:
        rms = gradient_rms(network(), train_ids, VOCABULARY.eos_id, CONFIG)
        return evaluate_stream(network(), ids, VOCABULARY, CONFIG, {**SETTINGS, **cache}, rms).loss

    by_hand = loss()
    monkeypatch.setattr("lstm_lm.evaluation.dynamic.ManualGradLSTM", lambda model, _: AutogradNetwork(model))
    assert loss() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("cell", ["cifg", "mogrifier"])
def test_other_cells_are_evaluated_by_autograd(cell: str) -> None:
    model, ids = network(ModelConfig(6, [9, 6], cell=cell, weight_dropout=0.5)), np.tile(stream(12), 60)
    rms = gradient_rms(model, stream(200, seed=7), VOCABULARY.eos_id, CONFIG)
    static = evaluate_static(model, ids, VOCABULARY, EvaluationConfig())
    still = evaluate_stream(model, ids, VOCABULARY, CONFIG, {"lr": 0.0, "decay": 0.0}, rms)
    assert still.loss == pytest.approx(static.loss, abs=1e-5)
    learned = evaluate_stream(model, ids, VOCABULARY, CONFIG, {"lr": 0.05, "decay": 0.02}, rms)
    assert learned.loss < 0.8 * static.loss


@pytest.mark.usefixtures("exact")
def test_update_matches_the_paper(rms: GradientRMS) -> None:
    """Two segments with autograd and the update rule of the paper."""
    model, ids, lr, decay = network().eval(), stream(18), 0.05, 0.9
    moving = copy.deepcopy(model)
    count = sum(value.numel() for value in rms.per_weight)
    mean = sum(float(value.sum()) for value in rms.per_weight) / count
    assert rms.mean == pytest.approx(mean, rel=1e-5)
    state, expected = moving.initial_state(1), []
    inputs = torch.from_numpy(np.concatenate([[VOCABULARY.eos_id], ids[:-1]])).long().view(2, 9)
    for input_ids, target_ids in zip(inputs, torch.from_numpy(ids).long().view(2, 9), strict=True):
        features, state = moving.features(input_ids.unsqueeze(0), state.detach())
        nll = F.cross_entropy(moving.logits(features[0]), target_ids, reduction="none")
        expected.append(nll.detach())
        moving.zero_grad()
        nll.mean().backward()
        with torch.no_grad():
            for parameter, trained, value in zip(moving.parameters(), model.parameters(), rms.per_weight, strict=True):
                rms_norm = (value / mean).clamp(max=1.0 / decay)
                parameter += decay * rms_norm * (trained - parameter) - lr * parameter.grad / (value + EPSILON * mean)
    actual = losses(ids, rms, {"lr": lr, "decay": decay})
    assert actual == pytest.approx(torch.cat(expected).numpy(), abs=1e-4)


def test_only_words_of_a_segment_and_expected_words_change(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids, min_count = network().eval(), np.full(9, 3, dtype=np.int32), 1.1
    monkeypatch.setattr("lstm_lm.evaluation.dynamic.MIN_COUNT", min_count)
    rms = GradientRMS([torch.ones_like(parameter) for parameter in model.parameters()], 1.0)
    dynamic = DynamicEvaluator(model, rms, 9)
    (segment,) = dynamic.score_stream(ids, VOCABULARY.eos_id, lr=0.1, decay=0.5)
    expected_counts = segment.log_probabilities.exp().sum(dim=0)
    trained, updated = model.embedding.weight, dynamic._network.weights[dynamic._network._embedding]
    changed = {word for word in range(len(VOCABULARY)) if not torch.equal(trained[word], updated[word])}
    words = {VOCABULARY.eos_id, *ids.tolist()}
    expected = {word for word, count in enumerate(expected_counts.tolist()) if count >= min_count}
    assert changed == words | expected
    assert words < changed < set(range(len(VOCABULARY)))


@pytest.mark.parametrize("cache", [{}, CACHE])
def test_a_step_may_write_to_the_same_memory_each_time(
    cache: dict[str, float], rms: GradientRMS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a CUDA graph does."""

    def in_place(step: Step, length: int, _: torch.device) -> Step:
        memory = ScoredWords(torch.empty(length, 6), torch.empty(length, len(VOCABULARY)), torch.empty(length).long())

        def replay(input_ids: torch.Tensor, target_ids: torch.Tensor) -> ScoredWords:
            scored = step(input_ids, target_ids)
            if len(target_ids) != length:
                return scored
            for name, tensor in vars(memory).items():
                tensor.copy_(getattr(scored, name))
            return memory

        return replay

    def loss() -> float:
        return evaluate_stream(network(), stream(300), VOCABULARY, CONFIG, {**SETTINGS, **cache}, rms).loss

    wanted = loss()
    monkeypatch.setattr("lstm_lm.evaluation.dynamic.graphed", in_place)
    assert loss() == wanted


def test_the_decay_of_several_segments_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    rms = GradientRMS([torch.rand_like(parameter) for parameter in model.parameters()], 0.5)

    def decayed(segments: int) -> list[torch.Tensor]:
        monkeypatch.setattr("lstm_lm.evaluation.dynamic.DECAY_SEGMENTS", segments)
        dynamic = DynamicEvaluator(model, rms, 9)
        moved_and_scored(dynamic, 4, decay=0.1)
        return dynamic._network.weights

    torch.testing.assert_close(decayed(4), decayed(1))


def test_gradient_rms_by_autograd() -> None:
    model, ids = network().eval(), stream(27)
    config = EvaluationConfig(name="dynamic", window_length=9, gradient_windows=3)
    squares = [torch.zeros_like(parameter) for parameter in model.parameters()]
    state, inputs = model.initial_state(1), np.concatenate([[VOCABULARY.eos_id], ids[:-1]])
    for begin in (0, 9, 18):
        part = slice(begin, begin + 9)
        features, state = model.features(torch.from_numpy(inputs[part]).long().unsqueeze(0), state.detach())
        model.zero_grad()
        F.cross_entropy(model.logits(features[0]), torch.from_numpy(ids[part]).long()).backward()
        for square, parameter in zip(squares, model.parameters(), strict=True):
            square += parameter.grad**2 / 3
    measured = gradient_rms(model, ids, VOCABULARY.eos_id, config)
    for square, value in zip(squares, measured.per_weight, strict=True):
        assert torch.allclose(square.sqrt(), value, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 39), st.integers(0, 7))
def test_later_words_do_not_change_earlier_probabilities(position: int, word: int) -> None:
    rms = GradientRMS([torch.ones_like(parameter) for parameter in network().parameters()], 1.0)
    ids = stream(40)
    changed = ids.copy()
    changed[position] = word
    assert (losses(changed, rms)[:position] == losses(ids, rms)[:position]).all()


def test_a_word_changes_the_losses_after_its_segment(rms: GradientRMS) -> None:
    ids = stream(40)
    changed = ids.copy()
    changed[0] = (ids[0] + 1) % 8
    assert (losses(changed, rms)[9:] != losses(ids, rms)[9:]).any()


@pytest.mark.parametrize("cache", [{}, CACHE])
def test_lr_0_equals_static_evaluation(rms: GradientRMS, cache: dict[str, float]) -> None:
    ids = stream(300)
    score = evaluate_stream(network(), ids, VOCABULARY, CONFIG, {"lr": 0.0, "decay": 0.0, **cache}, rms)
    if cache:
        expected = evaluate_stream(network(), ids, VOCABULARY, EvaluationConfig(name="cache"), cache)
    else:
        expected = evaluate_static(network(), ids, VOCABULARY, EvaluationConfig())
    assert score.loss == pytest.approx(expected.loss, abs=1e-5)
    assert (score.tokens, score.top1, score.top5, score.words) == (
        300,
        expected.top1,
        expected.top5,
        expected.words,
    )


def test_repeated_text_is_learned(rms: GradientRMS) -> None:
    ids = np.tile(stream(12), 60)
    static = evaluate_static(network(), ids, VOCABULARY, EvaluationConfig())
    dynamic = evaluate_stream(network(), ids, VOCABULARY, CONFIG, SETTINGS, rms)
    assert dynamic.loss < 0.8 * static.loss
    assert dynamic.interval is None, "the split has only one block"


def test_decay_1_restores_the_trained_weights() -> None:
    model = network()
    rms = GradientRMS([torch.ones_like(parameter) for parameter in model.parameters()], 1.0)
    dynamic = DynamicEvaluator(model, rms, 9)
    moved_and_scored(dynamic, DECAY_SEGMENTS, decay=1.0)
    for weight, trained in zip(dynamic._network.weights, model.parameters(), strict=True):
        assert torch.equal(weight, trained)


def test_model_is_unchanged_and_each_run_starts_from_trained_weights(rms: GradientRMS) -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    dynamic = DynamicEvaluator(model, rms, 9)
    (first,), (second,) = (dynamic.score_stream(stream(60), VOCABULARY.eos_id, 0.05, 0.02) for _ in range(2))
    assert torch.equal(first.log_probabilities, second.log_probabilities)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_progress_is_reported_and_empty_splits_are_rejected(rms: GradientRMS) -> None:
    seen: list[tuple[int, int]] = []
    evaluate_stream(network(), stream(300), VOCABULARY, CONFIG, SETTINGS, rms, lambda *done: seen.append(done))
    assert seen == [(126, 300), (252, 300), (300, 300)], "chunks of whole segments"
    with pytest.raises(DataError, match="empty"):
        evaluate_stream(network(), stream(0), VOCABULARY, CONFIG, SETTINGS, rms)
    with pytest.raises(DataError, match="train is empty"):
        gradient_rms(network(), stream(0), VOCABULARY.eos_id, CONFIG)


def test_divergence_is_reported_with_a_remedy(rms: GradientRMS) -> None:
    with pytest.raises(EvaluationError, match=r"diverged after .* of 300 tokens; lower evaluation.lr \(got 1e\+38\)"):
        evaluate_stream(network(), stream(300), VOCABULARY, CONFIG, {"lr": 1e38, "decay": 0.0}, rms)
