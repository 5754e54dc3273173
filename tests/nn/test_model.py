"""The network: shapes, state, causality, weight tying, dropout."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.dropout import dropout_mask
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.state import LSTMState

VOCAB = 30
CONFIG = ModelConfig(embedding_dim=8, hidden_dims=[12, 8])
AWD_LSTM = ModelConfig(8, [12, 8], True, 0.2, 0.3, 0.2, 0.3, 0.5)


def network(config: ModelConfig = CONFIG) -> LSTMLanguageModel:
    torch.manual_seed(0)
    return LSTMLanguageModel(config, VOCAB)


def random_ids(batch_size: int, length: int) -> Tensor:
    return torch.randint(VOCAB, (batch_size, length), generator=torch.Generator().manual_seed(1))


def test_shapes_of_logits_and_state() -> None:
    logits, state = network()(random_ids(3, 5), network().initial_state(3))
    assert logits.shape == (3, 5, VOCAB)
    assert [[tuple(tensor.shape) for tensor in layer] for layer in state.layers] == [[(1, 3, 12)] * 2, [(1, 3, 8)] * 2]


def test_a_window_in_parts_with_carried_state_equals_the_whole() -> None:
    model = network().eval()
    ids = random_ids(2, 9)
    whole, _ = model(ids, model.initial_state(2))
    state, parts = model.initial_state(2), []
    for part in ids.split([4, 1, 3, 1], dim=1):
        logits, state = model(part, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-6, rtol=1e-5)


def test_logits_without_gradients_are_the_same_and_their_rows_begin_at_cache_lines() -> None:
    model = network()
    features = torch.randn(2, 5, 8)
    with torch.no_grad():
        logits = model.logits(features)
    torch.testing.assert_close(logits, model.logits(features).detach(), atol=1e-6, rtol=1e-5)
    assert logits.data_ptr() % 64 == 0
    assert logits.stride() == (5 * 32, 32, 1)


def test_the_given_state_is_not_modified() -> None:
    model = network()
    state = model.initial_state(2)
    model(random_ids(2, 4), state)
    assert all(not tensor.any() for tensor in state.tensors())


def test_the_gradient_reaches_earlier_words_only() -> None:
    model = network().eval()
    ids = random_ids(1, 6)
    embedded: list[Tensor] = []
    model.input_dropout.register_forward_pre_hook(lambda _m, args: (args[0].retain_grad(), embedded.append(args[0]))[0])
    logits, _ = model(ids, model.initial_state(1))
    logits[0, 3].sum().backward()
    has_gradient = embedded[0].grad[0].abs().sum(dim=1) > 0
    assert has_gradient.tolist() == [True, True, True, True, False, False]


def test_carried_state_changes_the_logits_and_detach_stops_the_gradient() -> None:
    model = network().eval()
    first, second = random_ids(1, 8).split(4, dim=1)
    _, state = model(first, model.initial_state(1))
    carried, _ = model(second, state)
    fresh, _ = model(second, model.initial_state(1))
    assert not torch.allclose(carried, fresh)

    def has_weight_gradient(state: LSTMState) -> bool:
        model.zero_grad()
        logits, _ = model(second, state)
        return torch.autograd.grad(logits.sum(), model.layers[0].weight_ih_l0, retain_graph=True)[0].abs().sum() > 0

    hidden = state.layers[0][0]
    logits, _ = model(second, state)
    assert torch.autograd.grad(logits.sum(), hidden, retain_graph=True)[0].abs().sum() > 0
    assert not any(tensor.requires_grad for tensor in state.detach().tensors())
    assert has_weight_gradient(state.detach())


def test_a_state_of_another_batch_size_is_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="state is for a batch of 2, input_ids for 3"):
        model(random_ids(3, 4), model.initial_state(2))


def test_tied_weights_are_one_tensor_before_and_after_loading() -> None:
    model = network()
    assert model.output_weight is model.embedding.weight
    loaded = LSTMLanguageModel(CONFIG, VOCAB)
    loaded.load_state_dict(model.state_dict())
    assert loaded.output_weight is loaded.embedding.weight
    assert sum(name.endswith("embedding.weight") for name in model.state_dict()) == 1
    with torch.no_grad():
        loaded.embedding.weight.zero_()
    assert not loaded.logits(torch.ones(1, 8)).sub(loaded.output_bias).any()


def test_untied_weights_have_their_own_shape() -> None:
    model = network(ModelConfig(8, [12], tie_weights=False))
    assert model.output_weight.shape == (VOCAB, 12)
    logits, _ = model(random_ids(1, 2), model.initial_state(1))
    assert logits.shape == (1, 2, VOCAB)


def test_weight_tying_needs_equal_widths() -> None:
    with pytest.raises(ValueError, match=r"tie_weights: needs embedding_dim == last of hidden_dims \(got 400, 1150\)"):
        LSTMLanguageModel(ModelConfig(400, [1150]), VOCAB)


def test_dropout_is_active_in_training_only() -> None:
    model = network(AWD_LSTM)
    ids, state = random_ids(2, 5), model.initial_state(2)
    assert not torch.equal(model(ids, state)[0], model(ids, state)[0])
    model.eval()
    torch.testing.assert_close(model(ids, state)[0], model(ids, state)[0], atol=0, rtol=0)
    without_dropout = network(CONFIG)
    without_dropout.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(ids, state)[0], without_dropout.eval()(ids, state)[0], atol=0, rtol=0)


def test_locked_dropout_drops_the_same_features_at_every_step_and_keeps_the_mean() -> None:
    dropout = network(ModelConfig(8, [8], output_dropout=0.5)).output_dropout
    dropped = dropout(torch.ones(400, 3, 8))
    assert torch.equal(dropped[:, 0], dropped[:, 2])
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert abs(float(dropped.mean()) - 1.0) < 0.1


def test_embedding_dropout_drops_every_occurrence_of_a_word() -> None:
    model = network(ModelConfig(8, [8], embedding_dropout=0.5))
    embedded: list[Tensor] = []
    model.input_dropout.register_forward_hook(lambda _m, args, _o: embedded.append(args[0]))
    ids = torch.arange(VOCAB).repeat(2, 1)
    model(ids, model.initial_state(2))
    dropped = embedded[0].abs().sum(dim=2) == 0
    assert torch.equal(dropped[0], dropped[1])
    assert 0 < int(dropped[0].sum()) < VOCAB


def test_weight_dropout_keeps_the_stored_weights_and_passes_the_gradient() -> None:
    model = network(ModelConfig(8, [8], weight_dropout=0.5))
    stored = model.layers[0].weight_hh_l0.clone()
    logits, _ = model(random_ids(2, 6), model.initial_state(2))
    logits.sum().backward()
    assert torch.equal(model.layers[0].weight_hh_l0, stored)
    gradient = model.layers[0].weight_hh_l0.grad
    assert 0.2 < float((gradient == 0).float().mean()) < 0.8, "dropped weights get no gradient, the others do"


def test_the_tied_embedding_gets_one_dense_gradient_from_both_uses() -> None:
    model = network(CONFIG)
    ids = torch.tensor([[3, 3, 7, 3], [7, 0, 3, 9]])
    features, _ = model.features(ids, model.initial_state(2))
    logits = model.logits(features)
    logits.square().sum().backward()
    gradient = model.embedding.weight.grad
    assert gradient is not None
    assert not gradient.is_sparse
    # the same with separate tensors for the two uses
    looked_up = model.embedding.weight.detach()[ids].requires_grad_()
    untied = network(ModelConfig(8, [12, 8], tie_weights=False))
    untied.load_state_dict(model.state_dict() | {"untied_output_weight": model.embedding.weight.detach()})
    untied.input_dropout.register_forward_pre_hook(lambda _m, _args: (looked_up,))
    untied.logits(untied.features(ids, untied.initial_state(2))[0]).square().sum().backward()
    assert untied.untied_output_weight is not None
    assert untied.untied_output_weight.grad is not None
    assert looked_up.grad is not None
    expected = untied.untied_output_weight.grad.index_add(0, ids.flatten(), looked_up.grad.flatten(0, 1))
    torch.testing.assert_close(gradient, expected)


def test_a_dropout_mask_has_the_given_fraction_of_zeros_and_mean_one() -> None:
    torch.manual_seed(0)
    for probability in (0.3, 0.999999, 1e-9):
        mask = dropout_mask((1000, 101), probability, torch.empty(0))
        assert mask.unique().numel() <= 2
        assert float((mask == 0).float().mean()) == pytest.approx(probability, abs=0.006)
    assert float(dropout_mask((1000, 101), 0.3, torch.empty(0)).mean()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("cutoffs", [[], [0.2], [0.1, 0.5]])
def test_init_bias_from_unigrams_predicts_the_frequencies(cutoffs: list[float]) -> None:
    model = network(replace(CONFIG, cutoffs=cutoffs))
    counts = torch.arange(VOCAB, 0, -1)
    model.init_bias_from_unigrams(counts)
    probs = model.logits(torch.zeros(8)).softmax(dim=0)
    torch.testing.assert_close(probs, counts / counts.sum())


def test_init_embedding_keeps_the_directions_and_sets_the_scale() -> None:
    model, vectors = network(), torch.randn(VOCAB, 8, generator=torch.Generator().manual_seed(2))
    model.init_embedding(vectors / vectors.square().mean().sqrt())
    assert model.output_weight is model.embedding.weight
    assert model.embedding.weight.square().mean().sqrt().item() == pytest.approx(0.25)
    torch.testing.assert_close(F.cosine_similarity(model.embedding.weight, vectors, dim=1), torch.ones(VOCAB))


def test_cutoffs_are_shares_of_the_vocabulary() -> None:
    config = ModelConfig(cutoffs=[0.06, 0.3])
    assert config.cluster_bounds(33_278) == [1997, 9983, 33_278]
    assert config.cluster_bounds(10_000) == [600, 3000, 10_000]
    assert config.cluster_bounds(5) == [2, 5], "a head without words is ignored"
    assert config.cluster_bounds(1) == [1], "a single word has one softmax"
    assert ModelConfig().cluster_bounds(5) == [5]


@pytest.mark.parametrize("cutoffs", [[0.3, 0.06], [0.3, 0.3], [0.0, 0.3], [1.0], [2000.0, 10000.0], [float("nan")]])
def test_invalid_cutoffs_are_refused(cutoffs: list[float]) -> None:
    (problem,) = ModelConfig(cutoffs=cutoffs).problems()
    wanted = "needs increasing shares of the vocabulary" if cutoffs[0] == 0.3 else "each must be above 0 and below 1"
    assert problem.startswith(f"cutoffs: {wanted} (got [")
    assert "try [0.06,0.3]" in problem
