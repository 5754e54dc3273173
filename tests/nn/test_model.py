"""The network: shapes, state, causality, tying, dropout."""

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
UNEVEN = ModelConfig(embedding_dim=8, hidden_dims=[12, 8])
AWD = ModelConfig(8, [12, 8], True, 0.2, 0.3, 0.2, 0.3, 0.5)


def network(config: ModelConfig = UNEVEN) -> LSTMLanguageModel:
    torch.manual_seed(0)
    return LSTMLanguageModel(config, VOCAB)


def words(batch_size: int, length: int) -> Tensor:
    return torch.randint(VOCAB, (batch_size, length), generator=torch.Generator().manual_seed(1))


def test_shapes_follow_batch_time_and_each_layers_width() -> None:
    logits, state = network()(words(3, 5), network().initial_state(3))
    assert logits.shape == (3, 5, VOCAB)
    assert [tuple(h.shape) for h in state.hidden] == [(1, 3, 12), (1, 3, 8)]
    assert [tuple(c.shape) for c in state.cell] == [(1, 3, 12), (1, 3, 8)]


def test_a_window_read_in_pieces_with_carried_state_equals_the_whole() -> None:
    model = network().eval()
    ids = words(2, 9)
    whole, _ = model(ids, model.initial_state(2))
    state, pieces = model.initial_state(2), []
    for piece in ids.split([4, 1, 3, 1], dim=1):
        logits, state = model(piece, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-6, rtol=1e-5)


def test_the_state_handed_in_is_not_modified() -> None:
    model = network()
    state = model.initial_state(2)
    model(words(2, 4), state)
    assert all(not tensor.any() for tensor in (*state.hidden, *state.cell))


def test_gradient_reaches_earlier_words_only() -> None:
    model = network().eval()
    ids = words(1, 6)
    embedded: list[Tensor] = []
    model.input_dropout.register_forward_pre_hook(lambda _m, args: (args[0].retain_grad(), embedded.append(args[0]))[0])
    logits, _ = model(ids, model.initial_state(1))
    logits[0, 3].sum().backward()
    reached = embedded[0].grad[0].abs().sum(dim=1) > 0
    assert reached.tolist() == [True, True, True, True, False, False]


def test_carried_state_holds_information_and_detaching_cuts_the_gradient() -> None:
    model = network().eval()
    first, second = words(1, 8).split(4, dim=1)
    _, state = model(first, model.initial_state(1))
    carried, _ = model(second, state)
    fresh, _ = model(second, model.initial_state(1))
    assert not torch.allclose(carried, fresh)

    def gradient_through(state: LSTMState) -> bool:
        model.zero_grad()
        logits, _ = model(second, state)
        return torch.autograd.grad(logits.sum(), model.layers[0].weight_ih_l0, retain_graph=True)[0].abs().sum() > 0

    before = state.hidden[0]
    logits, _ = model(second, state)
    assert torch.autograd.grad(logits.sum(), before, retain_graph=True)[0].abs().sum() > 0
    assert not any(tensor.requires_grad for tensor in (*state.detach().hidden, *state.detach().cell))
    assert gradient_through(state.detach())


def test_another_batch_size_than_the_states_is_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="state is for a batch of 2, input_ids for 3"):
        model(words(3, 4), model.initial_state(2))


def test_tied_weights_are_one_tensor_before_and_after_saving(tmp_path: object) -> None:
    model = network()
    assert model.output_weight is model.embedding.weight
    other = LSTMLanguageModel(UNEVEN, VOCAB)
    other.load_state_dict(model.state_dict())
    assert other.output_weight is other.embedding.weight
    assert sum(name.endswith("embedding.weight") for name in model.state_dict()) == 1
    with torch.no_grad():
        other.embedding.weight.zero_()
    assert not other.logits(torch.ones(1, 8)).sub(other.output_bias).any()


def test_untied_weights_are_their_own() -> None:
    model = network(ModelConfig(8, [12], tie_weights=False))
    assert model.output_weight.shape == (VOCAB, 12)
    logits, _ = model(words(1, 2), model.initial_state(1))
    assert logits.shape == (1, 2, VOCAB)


def test_tying_needs_equal_widths() -> None:
    with pytest.raises(ValueError, match=r"tie_weights: needs embedding_dim == last of hidden_dims \(got 400, 1150\)"):
        LSTMLanguageModel(ModelConfig(400, [1150]), VOCAB)


def test_dropout_acts_in_training_alone() -> None:
    model = network(AWD)
    ids, state = words(2, 5), model.initial_state(2)
    assert not torch.equal(model(ids, state)[0], model(ids, state)[0])
    model.eval()
    torch.testing.assert_close(model(ids, state)[0], model(ids, state)[0], atol=0, rtol=0)
    plain = network(UNEVEN)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(ids, state)[0], plain.eval()(ids, state)[0], atol=0, rtol=0)


def test_locked_dropout_drops_the_same_features_at_every_step_and_keeps_the_mean() -> None:
    dropout = network(ModelConfig(8, [8], output_dropout=0.5)).output_dropout
    dropped = dropout(torch.ones(400, 3, 8))
    assert torch.equal(dropped[:, 0], dropped[:, 2])
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert abs(float(dropped.mean()) - 1.0) < 0.1


def test_embedding_dropout_drops_every_occurrence_of_a_word() -> None:
    model = network(ModelConfig(8, [8], embedding_dropout=0.5))
    seen: list[Tensor] = []
    model.input_dropout.register_forward_hook(lambda _m, args, _o: seen.append(args[0]))
    ids = torch.arange(VOCAB).repeat(2, 1)
    model(ids, model.initial_state(2))
    dropped = seen[0].abs().sum(dim=2) == 0
    assert torch.equal(dropped[0], dropped[1])
    assert 0 < int(dropped[0].sum()) < VOCAB


def test_weight_dropout_spares_the_stored_weights_and_lets_the_gradient_through() -> None:
    model = network(ModelConfig(8, [8], weight_dropout=0.5))
    stored = model.layers[0].weight_hh_l0.clone()
    logits, _ = model(words(2, 6), model.initial_state(2))
    logits.sum().backward()
    assert torch.equal(model.layers[0].weight_hh_l0, stored)
    gradient = model.layers[0].weight_hh_l0.grad
    assert 0.2 < float((gradient == 0).float().mean()) < 0.8, "dropped weights get no gradient, the others do"


def test_the_tied_embedding_gets_one_dense_gradient_from_both_its_uses() -> None:
    model = network(UNEVEN)
    ids = torch.tensor([[3, 3, 7, 3], [7, 0, 3, 9]])
    features, _ = model.features(ids, model.initial_state(2))
    logits = model.logits(features)
    logits.square().sum().backward()
    got = model.embedding.weight.grad
    assert got is not None
    assert not got.is_sparse
    # the same with the two uses apart
    looked_up = model.embedding.weight.detach()[ids].requires_grad_()
    untied = network(ModelConfig(8, [12, 8], tie_weights=False))
    untied.load_state_dict(model.state_dict() | {"untied_output_weight": model.embedding.weight.detach()})
    untied.input_dropout.register_forward_pre_hook(lambda _m, _args: (looked_up,))
    untied.logits(untied.features(ids, untied.initial_state(2))[0]).square().sum().backward()
    assert untied.untied_output_weight is not None
    assert untied.untied_output_weight.grad is not None
    assert looked_up.grad is not None
    wanted = untied.untied_output_weight.grad.index_add(0, ids.flatten(), looked_up.grad.flatten(0, 1))
    torch.testing.assert_close(got, wanted)


def test_keep_factors_have_the_share_and_the_mean_that_were_asked_for() -> None:
    torch.manual_seed(0)
    for probability in (0.3, 0.999999, 1e-9):
        factors = dropout_mask((1000, 101), probability, torch.empty(0))
        assert factors.unique().numel() <= 2
        assert float((factors == 0).float().mean()) == pytest.approx(probability, abs=0.006)
    assert float(dropout_mask((1000, 101), 0.3, torch.empty(0)).mean()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("cutoffs", [[], [0.2], [0.1, 0.5]])
def test_starting_from_unigrams_predicts_the_frequencies(cutoffs: list[float]) -> None:
    model = network(replace(UNEVEN, cutoffs=cutoffs))
    assert sum(p.numel() for p in model.parameters()) == model.config.num_parameters(VOCAB)
    counts = torch.arange(VOCAB, 0, -1)
    model.init_bias_from_unigrams(counts)
    probabilities = model.logits(torch.zeros(8)).softmax(dim=0)
    torch.testing.assert_close(probabilities, counts / counts.sum())


def test_an_embedding_of_vectors_keeps_their_directions_and_has_one_spread() -> None:
    model, vectors = network(), torch.randn(VOCAB, 8, generator=torch.Generator().manual_seed(2))
    model.init_embedding(vectors / vectors.square().mean().sqrt())
    assert model.output_weight is model.embedding.weight
    assert model.embedding.weight.square().mean().sqrt().item() == pytest.approx(0.25)
    torch.testing.assert_close(F.cosine_similarity(model.embedding.weight, vectors, dim=1), torch.ones(VOCAB))


def test_cutoffs_are_shares_of_any_vocabulary() -> None:
    config = ModelConfig(cutoffs=[0.06, 0.3])
    assert config.cluster_bounds(33_278) == [1997, 9983, 33_278]
    assert config.cluster_bounds(10_000) == [600, 3000, 10_000]
    assert config.cluster_bounds(5) == [2, 5], "a head without words is left out"
    assert config.cluster_bounds(1) == [1], "and so is all that remains of a single word"
    assert ModelConfig().cluster_bounds(5) == [5]


@pytest.mark.parametrize("cutoffs", [[0.3, 0.06], [0.3, 0.3], [0.0, 0.3], [1.0], [2000.0, 10000.0], [float("nan")]])
def test_cutoffs_that_cut_nothing_are_refused(cutoffs: list[float]) -> None:
    (problem,) = ModelConfig(cutoffs=cutoffs).problems()
    assert problem.startswith("cutoffs: needs rising shares of the vocabulary between 0 and 1 (got [")
    assert "try [0.06,0.3]" in problem
