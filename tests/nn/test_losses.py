"""Losses against their plain forms, and the sampled softmax in expectation."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.nn.clusters import TailClusters
from lstm_lm.nn.config import LossConfig
from lstm_lm.nn.losses import SoftmaxLoss
from lstm_lm.nn.sampled_softmax import inclusion_probabilities

TOKENS, WIDTH, VOCAB = 23, 6, 40
COUNTS = [2000 // (rank + 1) for rank in range(VOCAB)]


@pytest.fixture
def parts() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(TOKENS, WIDTH, generator=generator)
    weight = torch.randn(VOCAB, WIDTH, generator=generator)
    bias = torch.randn(VOCAB, generator=generator)
    return features, weight, bias, torch.randint(VOCAB, (TOKENS,), generator=generator)


def gradients(loss: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, leaves)


def test_two_words_by_hand() -> None:
    # logits 0 and log 3: probabilities 1/4 and 3/4
    loss = SoftmaxLoss(LossConfig(), [2, 1])
    features, weight = torch.ones(2, 1), torch.tensor([[0.0], [math.log(3.0)]])
    nll = loss(features, weight, torch.zeros(2), torch.tensor([0, 1]))
    assert float(nll) == pytest.approx((math.log(4.0) + math.log(4.0 / 3.0)) / 2)


@pytest.mark.parametrize("chunk", [1, 7, 23, 512])
def test_full_softmax_equals_cross_entropy_with_its_gradient(chunk: int, parts: tuple[Tensor, ...]) -> None:
    features, weight, bias, target_ids = parts
    leaves = [tensor.clone().requires_grad_() for tensor in (features, weight, bias)]
    ours = SoftmaxLoss(LossConfig(chunk_tokens=chunk), COUNTS)(*leaves, target_ids)
    plain = F.cross_entropy(F.linear(leaves[0], leaves[1], leaves[2]), target_ids)
    torch.testing.assert_close(ours, plain)
    for got, wanted in zip(gradients(3.0 * ours, *leaves), gradients(3.0 * plain, *leaves), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("chunk", [5, 512])
def test_sampled_softmax_has_the_gradient_of_its_own_plain_form(chunk: int, parts: tuple[Tensor, ...]) -> None:
    features, weight, bias, target_ids = parts
    loss = SoftmaxLoss(LossConfig("sampled_softmax", chunk, num_frequent=8, num_sampled=12), COUNTS)
    leaves = [tensor.clone().requires_grad_() for tensor in (features, weight, bias)]
    torch.manual_seed(3)
    ours = loss(*leaves, target_ids)

    torch.manual_seed(3)
    drawn = torch.rand_like(loss.inclusion) < loss.inclusion
    # logits over the whole vocabulary, a word that was not drawn out of it, a drawn one corrected, the target as it is
    correction = torch.where(drawn, -loss.inclusion.log(), -torch.inf)
    logits = F.linear(leaves[0], leaves[1], leaves[2])
    corrected = logits + torch.cat([torch.zeros(8), correction])
    target = F.one_hot(target_ids, VOCAB).bool()
    plain = F.cross_entropy(torch.where(target, logits, corrected), target_ids)
    torch.testing.assert_close(ours, plain)
    for got, wanted in zip(gradients(ours, *leaves), gradients(plain, *leaves), strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_sparse_gradient_is_the_dense_one_and_holds_only_what_was_met(parts: tuple[Tensor, ...]) -> None:
    features, weight, bias, target_ids = parts
    found = []
    for sparse in (False, True):
        loss = SoftmaxLoss(LossConfig("sampled_softmax", num_frequent=4, num_sampled=3), COUNTS, sparse_gradient=sparse)
        leaves = [tensor.clone().requires_grad_() for tensor in (features[:5], weight, bias)]
        torch.manual_seed(3)
        found.append(gradients(loss(*leaves, target_ids[:5]), *leaves))
    dense, sparse_ = found
    assert sparse_[1].is_sparse
    assert len(sparse_[1].coalesce().values()) < VOCAB / 2
    for got, wanted in zip(sparse_, dense, strict=True):
        torch.testing.assert_close(got.to_dense(), wanted)


def test_sampled_normaliser_is_right_in_expectation(parts: tuple[Tensor, ...]) -> None:
    features, weight, bias, target_ids = parts
    loss = SoftmaxLoss(LossConfig("sampled_softmax", num_frequent=8, num_sampled=12), COUNTS)
    target_logits = (features * weight[target_ids]).sum(dim=1) + bias[target_ids]
    exact = F.linear(features, weight, bias).exp().sum(dim=1)
    torch.manual_seed(0)
    one = features[:1], target_ids[:1]
    # exp(loss) is the estimated normaliser over the target's own exp: its mean must be the exact one
    estimates = torch.stack([loss(one[0], weight, bias, one[1]).exp() for _ in range(6000)]) * target_logits[0].exp()
    standard_error = float(estimates.std()) / math.sqrt(len(estimates))
    assert abs(float(estimates.mean()) - float(exact[0])) < 4.0 * standard_error
    assert standard_error < 0.02 * float(exact[0])


def split_parts(parts: tuple[Tensor, ...], bounds: list[int]) -> tuple[list[Tensor], TailClusters]:
    torch.manual_seed(0)
    clusters = TailClusters(bounds, WIDTH)
    with torch.no_grad():
        clusters.weight.normal_()
        clusters.bias.normal_()
    return [tensor.clone().requires_grad_() for tensor in parts[:3]], clusters


@pytest.mark.parametrize("chunk", [1, 7, 512])
@pytest.mark.parametrize("bounds", [[10, 40], [5, 12, 40], [1, 2, 3, 40], [39, 40]])
def test_split_softmax_has_the_likelihood_and_gradient_of_its_formula(
    chunk: int, bounds: list[int], parts: tuple[Tensor, ...]
) -> None:
    leaves, clusters = split_parts(parts, bounds)
    features, weight, bias = leaves
    ours = SoftmaxLoss(LossConfig("adaptive_softmax", chunk), COUNTS)(*leaves, parts[3], clusters)

    # p(word) = p(cluster) p(word | cluster), written down word by word
    head = torch.cat(
        [F.linear(features, weight, bias)[:, : bounds[0]], clusters.weight.matmul(features.T).T + clusters.bias], 1
    )
    log_head = head.log_softmax(dim=1)
    nll = features.new_zeros(())
    for token, word in enumerate(parts[3].tolist()):
        if word < bounds[0]:
            nll = nll - log_head[token, word]
            continue
        index = next(i for i in range(1, len(bounds)) if word < bounds[i])
        own = slice(bounds[index - 1], bounds[index])
        within = (weight[own] @ features[token] + bias[own]).log_softmax(dim=0)
        nll = nll - log_head[token, bounds[0] + index - 1] - within[word - own.start]
    plain = nll / len(parts[3])

    torch.testing.assert_close(ours, plain)
    leaves += [clusters.weight, clusters.bias]
    for got, wanted in zip(gradients(3.0 * ours, *leaves), gradients(3.0 * plain, *leaves), strict=True):
        torch.testing.assert_close(got, wanted)


def test_split_softmax_is_a_distribution_and_training_and_scoring_agree_on_it(parts: tuple[Tensor, ...]) -> None:
    leaves, clusters = split_parts(parts, [5, 12, 40])
    logits = clusters(leaves[0], F.linear(*leaves))
    probabilities = logits.softmax(dim=1)
    # the head's words and clusters share what there is, as the head's own softmax says
    plain = F.linear(*leaves)
    head = torch.cat([plain[:, :5], F.linear(leaves[0], clusters.weight, clusters.bias)], dim=1).softmax(dim=1)
    torch.testing.assert_close(probabilities[:, :5], head[:, :5])
    torch.testing.assert_close(probabilities[:, 5:12].sum(dim=1), head[:, 5])
    torch.testing.assert_close(probabilities[:, 12:].sum(dim=1), head[:, 6])
    trained = SoftmaxLoss(LossConfig("adaptive_softmax"), COUNTS)(*leaves, parts[3], clusters)
    torch.testing.assert_close(trained, F.cross_entropy(logits, parts[3]))


def test_split_softmax_without_a_target_in_a_cluster(parts: tuple[Tensor, ...]) -> None:
    leaves, clusters = split_parts(parts, [38, 39, 40])
    target_ids = parts[3].clamp(max=3)
    ours = SoftmaxLoss(LossConfig("adaptive_softmax"), COUNTS)(*leaves, target_ids, clusters)
    torch.testing.assert_close(ours, F.cross_entropy(clusters(leaves[0], F.linear(*leaves)), target_ids))
    assert not gradients(ours, leaves[1])[0][38:].any()


def test_inclusion_probabilities_add_up_and_fall_with_the_count() -> None:
    counts = torch.tensor([100_000.0, 50.0, 40.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    inclusion = inclusion_probabilities(counts, 4)
    assert float(inclusion.sum()) == pytest.approx(4.0, abs=1e-5)
    assert float(inclusion.max()) <= 1.0
    assert (inclusion.diff() <= 0).all()
    assert (inclusion > 0).all()


def test_a_small_vocabulary_is_summed_exactly(parts: tuple[Tensor, ...]) -> None:
    loss = SoftmaxLoss(LossConfig("sampled_softmax", num_frequent=20, num_sampled=20), COUNTS)
    features, weight, bias, target_ids = parts
    torch.testing.assert_close(loss(*parts), F.cross_entropy(F.linear(features, weight, bias), target_ids))


def test_loss_stays_finite_where_the_targets_probability_underflows() -> None:
    weight = torch.tensor([[400.0], [-400.0], [0.0]])
    for name in ("full_softmax", "sampled_softmax"):
        loss = SoftmaxLoss(LossConfig(name, num_frequent=1, num_sampled=1), [3, 2, 1])
        nll = loss(torch.ones(1, 1), weight, torch.zeros(3), torch.tensor([1]))
        assert float(nll) == pytest.approx(800.0)


@pytest.mark.parametrize("name", ["full_softmax", "sampled_softmax", "adaptive_softmax"])
def test_bfloat16_stays_near_float32(name: str, parts: tuple[Tensor, ...]) -> None:
    loss = SoftmaxLoss(LossConfig(name, num_frequent=8, num_sampled=12), COUNTS)
    leaves, own = split_parts(parts, [8, 20, 40])
    clusters = own if name == "adaptive_softmax" else None
    torch.manual_seed(0)
    exact = loss(*leaves, parts[3], clusters)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        rough = loss(*leaves, parts[3], clusters)
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.0)
    for got, wanted in zip(gradients(rough, *leaves), gradients(exact, *leaves), strict=True):
        assert got.dtype == torch.float32
        assert float((got - wanted).norm() / wanted.norm()) < 0.03
