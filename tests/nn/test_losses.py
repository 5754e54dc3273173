"""Losses against reference implementations, and the sampled softmax in expectation."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.nn.clusters import TailClusters
from lstm_lm.nn.config import LossConfig
from lstm_lm.nn.losses import SoftmaxLoss
from lstm_lm.nn.sampled_softmax import draw_words, inclusion_probabilities

TOKENS, WIDTH, VOCAB = 23, 6, 40
COUNTS = [2000 // (rank + 1) for rank in range(VOCAB)]


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(TOKENS, WIDTH, generator=generator)
    weight = torch.randn(VOCAB, WIDTH, generator=generator)
    bias = torch.randn(VOCAB, generator=generator)
    return features, weight, bias, torch.randint(VOCAB, (TOKENS,), generator=generator)


def gradients(loss: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, leaves)


def test_full_softmax_of_two_words_by_hand() -> None:
    # logits 0 and log 3: probabilities 1/4 and 3/4
    loss = SoftmaxLoss(LossConfig(), [2, 1])
    features, weight = torch.ones(2, 1), torch.tensor([[0.0], [math.log(3.0)]])
    nll = loss(features, weight, torch.zeros(2), torch.tensor([0, 1]))
    assert float(nll) == pytest.approx((math.log(4.0) + math.log(4.0 / 3.0)) / 2)


@pytest.mark.parametrize("chunk", [1, 7, 23, 512])
def test_full_softmax_equals_cross_entropy(chunk: int, inputs: tuple[Tensor, ...]) -> None:
    features, weight, bias, target_ids = inputs
    leaves = [tensor.clone().requires_grad_() for tensor in (features, weight, bias)]
    actual = SoftmaxLoss(LossConfig(chunk_tokens=chunk), COUNTS)(*leaves, target_ids)
    reference = F.cross_entropy(F.linear(leaves[0], leaves[1], leaves[2]), target_ids)
    torch.testing.assert_close(actual, reference)
    for gradient, expected in zip(gradients(3.0 * actual, *leaves), gradients(3.0 * reference, *leaves), strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("chunk", [5, 512])
@pytest.mark.parametrize("multiple", [1, 16, 64])
def test_sampled_softmax_equals_masked_cross_entropy(
    chunk: int, multiple: int, inputs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstm_lm.nn.sampled_softmax._MULTIPLE", multiple)
    features, weight, bias, target_ids = inputs
    loss = SoftmaxLoss(LossConfig("sampled_softmax", chunk, num_frequent=8, num_sampled=12), COUNTS)
    leaves = [tensor.clone().requires_grad_() for tensor in (features, weight, bias)]
    torch.manual_seed(3)
    actual = loss(*leaves, target_ids)

    torch.manual_seed(3)
    drawn = torch.rand_like(loss.inclusion) < loss.inclusion
    # logits of the whole vocabulary: drawn words corrected, other tail words masked, the target unchanged
    correction = torch.where(drawn, -loss.inclusion.log(), -torch.inf)
    logits = F.linear(leaves[0], leaves[1], leaves[2])
    corrected = logits + torch.cat([torch.zeros(8), correction])
    target = F.one_hot(target_ids, VOCAB).bool()
    reference = F.cross_entropy(torch.where(target, logits, corrected), target_ids)
    torch.testing.assert_close(actual, reference)
    for gradient, expected in zip(gradients(actual, *leaves), gradients(reference, *leaves), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_sparse_gradient_equals_the_dense_one_and_has_few_rows(
    inputs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstm_lm.nn.sampled_softmax._MULTIPLE", 1)
    features, weight, bias, target_ids = inputs
    results = []
    for sparse in (False, True):
        loss = SoftmaxLoss(LossConfig("sampled_softmax", num_frequent=4, num_sampled=3), COUNTS, sparse_gradient=sparse)
        leaves = [tensor.clone().requires_grad_() for tensor in (features[:5], weight, bias)]
        torch.manual_seed(3)
        results.append(gradients(loss(*leaves, target_ids[:5]), *leaves))
    dense, sparse_ = results
    assert sparse_[1].is_sparse
    assert len(sparse_[1].coalesce().values()) < VOCAB / 2
    for gradient, expected in zip(sparse_, dense, strict=True):
        torch.testing.assert_close(gradient.to_dense(), expected)


def test_sampled_normalizer_is_unbiased(inputs: tuple[Tensor, ...]) -> None:
    features, weight, bias, target_ids = inputs
    loss = SoftmaxLoss(LossConfig("sampled_softmax", num_frequent=8, num_sampled=12), COUNTS)
    target_logits = (features * weight[target_ids]).sum(dim=1) + bias[target_ids]
    exact = F.linear(features, weight, bias).exp().sum(dim=1)
    torch.manual_seed(0)
    # exp(loss) is the estimated normalizer divided by the exp of the target's logit
    estimates = (
        torch.stack([loss(features[:1], weight, bias, target_ids[:1]).exp() for _ in range(6000)])
        * target_logits[0].exp()
    )
    standard_error = float(estimates.std()) / math.sqrt(len(estimates))
    assert abs(float(estimates.mean()) - float(exact[0])) < 4.0 * standard_error
    assert standard_error < 0.02 * float(exact[0])


def leaves_and_clusters(inputs: tuple[Tensor, ...], bounds: list[int]) -> tuple[list[Tensor], TailClusters]:
    torch.manual_seed(0)
    clusters = TailClusters(bounds, WIDTH)
    with torch.no_grad():
        clusters.weight.normal_()
        clusters.bias.normal_()
    return [tensor.clone().requires_grad_() for tensor in inputs[:3]], clusters


@pytest.mark.parametrize("chunk", [1, 7, 512])
@pytest.mark.parametrize("bounds", [[10, 40], [5, 12, 40], [1, 2, 3, 40], [39, 40]])
def test_adaptive_softmax_equals_its_formula(chunk: int, bounds: list[int], inputs: tuple[Tensor, ...]) -> None:
    leaves, clusters = leaves_and_clusters(inputs, bounds)
    features, weight, bias = leaves
    actual = SoftmaxLoss(LossConfig("adaptive_softmax", chunk), COUNTS)(*leaves, inputs[3], clusters)

    # p(word) = p(cluster) p(word | cluster), word by word
    head = torch.cat(
        [F.linear(features, weight, bias)[:, : bounds[0]], clusters.weight.matmul(features.T).T + clusters.bias], 1
    )
    log_head = head.log_softmax(dim=1)
    nll = features.new_zeros(())
    for token, word in enumerate(inputs[3].tolist()):
        if word < bounds[0]:
            nll = nll - log_head[token, word]
            continue
        index = next(i for i in range(1, len(bounds)) if word < bounds[i])
        cluster = slice(bounds[index - 1], bounds[index])
        within = (weight[cluster] @ features[token] + bias[cluster]).log_softmax(dim=0)
        nll = nll - log_head[token, bounds[0] + index - 1] - within[word - cluster.start]
    reference = nll / len(inputs[3])

    torch.testing.assert_close(actual, reference)
    leaves += [clusters.weight, clusters.bias]
    for gradient, expected in zip(gradients(3.0 * actual, *leaves), gradients(3.0 * reference, *leaves), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_adaptive_softmax_is_the_same_distribution_in_training_and_scoring(inputs: tuple[Tensor, ...]) -> None:
    leaves, clusters = leaves_and_clusters(inputs, [5, 12, 40])
    logits = clusters(leaves[0], F.linear(*leaves))
    probs = logits.softmax(dim=1)
    # the head's softmax gives the probabilities of its words and of the clusters
    word_logits = F.linear(*leaves)
    head = torch.cat([word_logits[:, :5], F.linear(leaves[0], clusters.weight, clusters.bias)], dim=1).softmax(dim=1)
    torch.testing.assert_close(probs[:, :5], head[:, :5])
    torch.testing.assert_close(probs[:, 5:12].sum(dim=1), head[:, 5])
    torch.testing.assert_close(probs[:, 12:].sum(dim=1), head[:, 6])
    training_loss = SoftmaxLoss(LossConfig("adaptive_softmax"), COUNTS)(*leaves, inputs[3], clusters)
    torch.testing.assert_close(training_loss, F.cross_entropy(logits, inputs[3]))


def test_adaptive_softmax_without_a_target_in_a_cluster(inputs: tuple[Tensor, ...]) -> None:
    leaves, clusters = leaves_and_clusters(inputs, [38, 39, 40])
    target_ids = inputs[3].clamp(max=3)
    actual = SoftmaxLoss(LossConfig("adaptive_softmax"), COUNTS)(*leaves, target_ids, clusters)
    torch.testing.assert_close(actual, F.cross_entropy(clusters(leaves[0], F.linear(*leaves)), target_ids))
    assert not gradients(actual, leaves[1])[0][38:].any()


def test_inclusion_probabilities_sum_to_the_sample_size_and_fall_with_the_count() -> None:
    counts = torch.tensor([100_000.0, 50.0, 40.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    inclusion = inclusion_probabilities(counts, 4)
    assert float(inclusion.sum()) == pytest.approx(4.0, abs=1e-5)
    assert float(inclusion.max()) <= 1.0
    assert (inclusion.diff() <= 0).all()
    assert (inclusion > 0).all()


def test_candidates_are_padded_to_a_multiple_of_64_with_words_that_do_not_count() -> None:
    inclusion = inclusion_probabilities(torch.arange(3000, 0, -1, dtype=torch.float64), 200)
    drawn, log_inclusion = draw_words(inclusion, 200, 30, fixed_size=False)
    assert (30 + len(drawn)) % 64 == 0
    assert len(set(drawn.tolist())) == len(drawn)
    counted = log_inclusion < torch.inf
    torch.testing.assert_close(log_inclusion[counted], inclusion[drawn[counted]].log())
    assert 0 <= int((~counted).sum()) < 64


def test_sampled_softmax_is_exact_for_a_small_vocabulary(inputs: tuple[Tensor, ...]) -> None:
    loss = SoftmaxLoss(LossConfig("sampled_softmax", num_frequent=20, num_sampled=20), COUNTS)
    features, weight, bias, target_ids = inputs
    torch.testing.assert_close(loss(*inputs), F.cross_entropy(F.linear(features, weight, bias), target_ids))


def test_loss_is_finite_if_the_targets_probability_underflows() -> None:
    weight = torch.tensor([[400.0], [-400.0], [0.0]])
    for name in ("full_softmax", "sampled_softmax"):
        loss = SoftmaxLoss(LossConfig(name, num_frequent=1, num_sampled=1), [3, 2, 1])
        nll = loss(torch.ones(1, 1), weight, torch.zeros(3), torch.tensor([1]))
        assert float(nll) == pytest.approx(800.0)


@pytest.mark.parametrize("name", ["full_softmax", "sampled_softmax", "adaptive_softmax"])
def test_bfloat16_is_close_to_float32(name: str, inputs: tuple[Tensor, ...]) -> None:
    loss = SoftmaxLoss(LossConfig(name, num_frequent=8, num_sampled=12), COUNTS)
    leaves, all_clusters = leaves_and_clusters(inputs, [8, 20, 40])
    clusters = all_clusters if name == "adaptive_softmax" else None
    torch.manual_seed(0)
    exact = loss(*leaves, inputs[3], clusters)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        low_precision = loss(*leaves, inputs[3], clusters)
    torch.testing.assert_close(low_precision, exact, rtol=0.02, atol=0.0)
    for gradient, expected in zip(gradients(low_precision, *leaves), gradients(exact, *leaves), strict=True):
        assert gradient.dtype == torch.float32
        assert float((gradient - expected).norm() / expected.norm()) < 0.03
