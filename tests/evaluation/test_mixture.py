"""The mixture: a distribution before every word, causal, and no worse than its parts."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_streams import VOCABULARY, network, stream

from lstm_lm.data.ngram import KneserNeyNgram
from lstm_lm.evaluation.config import COMPONENTS, EvaluationConfig, checked_settings
from lstm_lm.evaluation.dynamic import gradient_rms
from lstm_lm.evaluation.mixture import (
    Mixture,
    TrainModels,
    evaluate_mixture,
)
from lstm_lm.evaluation.mixture_tuning import tune_mixture
from lstm_lm.evaluation.mixture_weights import MixtureWeights, constant_weights
from lstm_lm.evaluation.neighbours import NeighbourIndex, build_index
from lstm_lm.evaluation.network import network_chunks, network_signals
from lstm_lm.evaluation.static import evaluate_static
from lstm_lm.evaluation.stream import evaluate_stream

SETTINGS = {"cache_window": 20, "cache_theta": 0.7, "neighbours_theta": 2.0, "lr": 0.01, "decay": 0.01}
EOS = VOCABULARY.eos_id
SUBSETS = [subset for size in range(1, 5) for subset in combinations(COMPONENTS, size)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> NeighbourIndex:
    folder = tmp_path_factory.mktemp("index")
    build_index(network(), stream(300, seed=5), EOS, folder, lambda *_: None)
    return NeighbourIndex(folder, torch.device("cpu"))


def config(*components: str, **settings: float) -> EvaluationConfig:
    return EvaluationConfig(
        "mixture", window_length=9, gradient_windows=20, neighbours_k=16, **dict.fromkeys(components, True), **settings
    )


def train_models(index: NeighbourIndex, config: EvaluationConfig) -> TrainModels:
    train = stream(300, seed=5)
    return TrainModels(
        KneserNeyNgram(train, len(VOCABULARY), EOS, 4) if config.ngram else None,
        index if config.neighbours else None,
        gradient_rms(network(), train, EOS, config) if config.dynamic else None,
    )


def random_weights(mixture: Mixture) -> MixtureWeights:
    matrix = np.random.default_rng(0).normal(size=(len(mixture.names), len(mixture.signals) + 1)) * 0.3
    return MixtureWeights(mixture.names, mixture.signals, matrix)


def distributions(
    ids: np.ndarray, index: NeighbourIndex, config: EvaluationConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixtures (N, V) and losses (N,) of a stream, with weights that depend on every signal."""
    models = train_models(index, config)
    mixture = Mixture(config, SETTINGS, models, network().device, ids)
    weights = random_weights(mixture)
    rows, nlls = [], []
    chunks = network_chunks(network(), ids, EOS, config, SETTINGS, models.rms, config.neighbours)
    for announced, chunk in chunks:
        if announced is not None:
            mixture.search(announced)
        signals = network_signals(chunk.log_probabilities)
        reading = mixture.read(chunk.target_log_probs, signals, chunk.features, chunk.target_ids)
        nlls.append(weights.loss(reading.log_probs, reading.signals))
        rows.append(mixture.mix(chunk.log_probabilities, reading, weights)[0])
    return torch.cat(rows), torch.cat(nlls)


@pytest.mark.parametrize("components", SUBSETS, ids="+".join)
def test_distributions_are_normalized_causal_and_give_the_loss(
    components: tuple[str, ...], index: NeighbourIndex
) -> None:
    ids, length, changed_from = stream(150), 150, 101
    changed = ids.copy()
    changed[changed_from:] = stream(length - changed_from, seed=9)
    assert (changed != ids).any()
    (before, nll), (after, _) = (distributions(text, index, config(*components)) for text in (ids, changed))
    assert before.shape == (length, len(VOCABULARY))
    assert (before > 0).all()
    assert torch.allclose(before.sum(dim=1), torch.ones(length), atol=1e-5)
    assert torch.allclose(nll, -before[torch.arange(length), torch.from_numpy(ids).long()].log().double(), atol=1e-4)
    # including the distribution before the first changed word
    assert torch.allclose(before[: changed_from + 1], after[: changed_from + 1], atol=1e-6)
    assert not torch.allclose(before[changed_from + 1 :], after[changed_from + 1 :], atol=1e-3)


def score(index: NeighbourIndex, config: EvaluationConfig, weights: list[float], ids: np.ndarray) -> float:
    models = train_models(index, config)
    mixture = Mixture(config, SETTINGS, models, network().device, ids)
    settings = SETTINGS | constant_weights(mixture.names, mixture.signals, weights).to_settings()
    result = evaluate_mixture(network(), ids, VOCABULARY, config, settings, models)
    assert sum(result.weights.values()) == pytest.approx(1.0)
    assert not result.per_token
    return result.score.loss


def test_constant_weights_give_the_scores_of_the_other_evaluations(index: NeighbourIndex) -> None:
    ids = stream(300)
    static = evaluate_static(network(), ids, VOCABULARY, EvaluationConfig()).loss
    assert score(index, config("cache", "ngram", "neighbours"), [1.0, 0.0, 0.0, 0.0], ids) == pytest.approx(static)
    cache = evaluate_stream(network(), ids, VOCABULARY, EvaluationConfig("cache"), {**SETTINGS, "cache_weight": 0.3})
    assert score(index, config("cache"), [0.7, 0.3], ids) == pytest.approx(cache.loss, abs=1e-6)
    for components, weight in ((("dynamic",), 0.0), (("cache", "dynamic"), 0.3)):
        given = config(*components)
        rms = train_models(index, given).rms
        assert rms is not None
        settings = {**SETTINGS, "cache_weight": weight}
        dynamic = evaluate_stream(network(), ids, VOCABULARY, given, settings, rms)
        weights = [1.0 - weight, weight][: len(components)]
        assert score(index, given, weights, ids) == pytest.approx(dynamic.loss, abs=1e-6)


def test_the_ngram_model_in_a_mixture(index: NeighbourIndex) -> None:
    ids = stream(200)
    ngram = KneserNeyNgram(stream(300, seed=5), len(VOCABULARY), EOS, 4)
    loss = -np.log(ngram.probs(ngram.contexts(ids)[:-1], ids)).mean()
    assert score(index, config("ngram"), [0.0, 1.0], ids) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("components", [("cache", "ngram", "neighbours"), ("cache", "neighbours", "dynamic")])
def test_tuned_mixture_beats_its_parts(components: tuple[str, ...], index: NeighbourIndex) -> None:
    ids = np.tile(stream(60), 15)
    given = config(*components, lr=0.01) if "dynamic" in components else config(*components)
    models = train_models(index, given)
    stages: set[str] = set()
    tuning = tune_mixture(network(), ids, EOS, given, models, lambda stage, *_: stages.add(stage))
    result = evaluate_mixture(network(), ids, VOCABULARY, given, tuning.settings, models)
    static = evaluate_static(network(), ids, VOCABULARY, EvaluationConfig()).loss
    cache = evaluate_stream(
        network(), ids, VOCABULARY, EvaluationConfig("cache"), {**tuning.settings, "cache_weight": 0.3}
    )
    assert result.score.loss < min(static, cache.loss)
    assert result.per_token == (tuning.check.per_token < tuning.check.constant)
    assert tuning.check.tokens == len(ids)
    assert set(result.weights) == {"network", *components} - {"dynamic"}
    assert {"scoring valid", "components on valid"} <= stages
    # the settings survive the checkpoint
    assert checked_settings(given.label, tuning.settings) == tuning.settings


def test_untuned_mixture_has_default_weights(index: NeighbourIndex) -> None:
    given = config("cache", "ngram")
    models = train_models(index, given)
    result = evaluate_mixture(network(), stream(100), VOCABULARY, given, SETTINGS, models)
    # a cache that is empty before the first word leaves its share to the network
    assert result.weights["cache"] == pytest.approx(0.15 * 0.99, abs=1e-5)
    assert result.weights["ngram"] == pytest.approx(0.05, abs=1e-5)


def test_labels_and_problems() -> None:
    assert config("ngram", "cache").label == "mixture+cache+ngram"
    assert config("ngram", "neighbours").tunable == ("neighbours_theta",)
    (problem,) = EvaluationConfig("mixture").problems()
    assert problem.startswith("name: mixture needs a component beside the network (got none); set cache=true or")
    (problem,) = EvaluationConfig("cache", ngram=True).problems()
    assert problem == "ngram: not used by cache (got True); used by mixture"
    (problem,) = EvaluationConfig("mixture", ngram=True, cache_theta=0.5).problems()
    assert problem.startswith("cache_theta: not used by mixture+ngram (got 0.5); used by cache, dynamic_cache, mixture")


@pytest.mark.parametrize(
    ("label", "settings"),
    [
        ("mixture+cache", {"neighbours_theta": 1.0}),
        ("mixture+cache", {"weights.cache.bias": "heavy"}),
        ("mixture+cache", {"weights.cache.bias": float("inf")}),
        ("mixture+other", {}),
        ("mixture", {}),
        ("cache", {"weights.cache.bias": 1.0}),
    ],
)
def test_invalid_tuned_settings_are_rejected(label: str, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"tuned\."):
        checked_settings(label, settings)


def test_index_survives_a_copy_of_its_folder(tmp_path: Path) -> None:
    build_index(network(), stream(80), EOS, tmp_path, lambda *_: None)
    assert len(NeighbourIndex(tmp_path, torch.device("cpu"))) == 80
