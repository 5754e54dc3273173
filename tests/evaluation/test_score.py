"""The score: by hand, and independent of window and batch size."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import load_corpus
from lstm_lm.errors import DataError
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.score import ScoreMetric, target_rank, word_mask
from lstm_lm.evaluation.static import evaluate_static
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["the", "<eos>", ",", "<unk>", "river", "@-@", "1990", "é"], [8, 7, 6, 5, 4, 3, 2, 1])


def network(vocabulary: Vocabulary = VOCABULARY) -> LSTMLanguageModel:
    torch.manual_seed(0)
    model = LSTMLanguageModel(ModelConfig(6, [9, 6]), len(vocabulary))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.8, 0.8)
    return model


def stream(length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(len(VOCABULARY), size=length).astype(np.int32)


def updated_metric(logits: torch.Tensor, target_ids: torch.Tensor) -> ScoreMetric:
    metric = ScoreMetric(VOCABULARY)
    nll = F.cross_entropy(logits, target_ids, reduction="none")
    metric.update(nll, target_rank(logits, target_ids), target_ids)
    return metric


def test_loss_perplexity_and_top_k_by_hand() -> None:
    # probabilities 1/2, 1/4, 1/8 ...: the target of row i is the i-th most probable word
    logits = -math.log(2.0) * torch.arange(8.0).repeat(4, 1)
    score = updated_metric(logits, torch.tensor([0, 2, 4, 3])).score()  # the , river <unk>
    normalizer = sum(2.0**-i for i in range(8))
    assert score.tokens == 4
    assert score.loss == pytest.approx(sum(math.log(normalizer) + i * math.log(2.0) for i in (0, 2, 4, 3)) / 4)
    assert score.perplexity == pytest.approx(math.exp(score.loss))
    assert (score.top1, score.top3, score.top5) == (0.25, 0.5, 1.0)
    assert (score.words.tokens, score.words.top1, score.words.top3, score.words.top5) == (2, 0.5, 0.5, 1.0)
    assert score.unk_rate == 0.25


def test_word_mask_excludes_punctuation_unk_and_eos() -> None:
    assert [word for word, is_word in zip(VOCABULARY.words, word_mask(VOCABULARY), strict=True) if is_word] == [
        "the",
        "river",
        "1990",
        "é",
    ]


def test_ties_count_against_the_target() -> None:
    assert target_rank(torch.zeros(2, 8), torch.tensor([0, 7])).tolist() == [7, 7]
    assert target_rank(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([2])).tolist() == [1]


def test_score_does_not_depend_on_the_window_length() -> None:
    scores = [
        evaluate_static(network(), stream(403), VOCABULARY, EvaluationConfig(window_length=length))
        for length in (7, 35, 70)
    ]
    assert {score.tokens for score in scores} == {403}
    for score in scores[1:]:
        assert score.loss == pytest.approx(scores[0].loss, abs=1e-5)
        assert score.top5 == scores[0].top5


@pytest.mark.parametrize("batch_size", [1, 4, 10, 403, 500])
def test_every_token_counts_for_any_batch_size(batch_size: int) -> None:
    score = evaluate_static(network(), stream(403), VOCABULARY, EvaluationConfig(batch_size=batch_size))
    assert score.tokens == 403
    assert score.unk_rate == pytest.approx(float((stream(403) == VOCABULARY.unk_id).mean()))


def test_batch_size_1_equals_word_by_word_probabilities() -> None:
    model, ids = network().eval(), stream(30)
    state, nll, previous = model.initial_state(1), 0.0, VOCABULARY.eos_id
    with torch.no_grad():
        for word in ids.tolist():
            logits, state = model(torch.tensor([[previous]]), state)
            nll -= float(logits[0, 0].double().log_softmax(dim=0)[word])
            previous = word
    score = evaluate_static(model, ids, VOCABULARY, EvaluationConfig(window_length=8))
    assert score.loss == pytest.approx(nll / 30, abs=1e-6)


def test_evaluation_keeps_mode_and_weights_and_reports_progress() -> None:
    model, seen = network().train(), []
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate_static(model, stream(100), VOCABULARY, EvaluationConfig(window_length=40), lambda *done: seen.append(done))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert seen == [(40, 100), (80, 100), (100, 100)]


def test_empty_split_is_rejected() -> None:
    with pytest.raises(DataError, match="empty"):
        evaluate_static(network(), stream(0), VOCABULARY, EvaluationConfig())


def test_perplexity_overflows_to_infinity() -> None:
    score = updated_metric(torch.tensor([[1000.0, 0, 0, 0, 0, 0, 0, 0]]), torch.tensor([1])).score()
    assert score.loss == pytest.approx(1000.0)
    assert score.perplexity == math.inf


@pytest.mark.slow
def test_test_split_of_wikitext2_has_its_published_number_of_tokens(wikitext2_dir: Path) -> None:
    corpus = load_corpus(DataConfig(source="text_files", dir=str(wikitext2_dir)))
    few_words = corpus.splits["test"] % len(VOCABULARY)  # the softmax of 33,278 words would take half a minute
    tokens = {
        evaluate_static(network(), few_words, VOCABULARY, EvaluationConfig(batch_size=batch_size)).tokens
        for batch_size in (1, 10)
    }
    assert tokens == {245_569}
