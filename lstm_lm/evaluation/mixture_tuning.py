"""Tunes a mixture on valid: first the settings of each component, then the weights of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lstm_lm.data.encoding import Ids
from lstm_lm.evaluation.cache_search import search_cache
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.dynamic import DynamicEvaluator
from lstm_lm.evaluation.mixture import Mixture, TrainModels
from lstm_lm.evaluation.mixture_weights import CrossCheck, constant_weights, cross_check, fit_constant, fit_per_token
from lstm_lm.evaluation.neighbours import NeighbourIndex
from lstm_lm.evaluation.network import block_length, network_chunks, network_signals
from lstm_lm.evaluation.progress import StageProgressCallback
from lstm_lm.evaluation.score import chunks
from lstm_lm.evaluation.tuning import DynamicSearch
from lstm_lm.nn.model import LSTMLanguageModel

THETAS = tuple(0.125 * 2.0 ** (power / 2) for power in range(13))  # 0.125 to 8
_DYNAMIC_TOKENS = 25_000  # tokens that learning rate and decay are searched on
_THETA_BLOCKS = 8  # blocks of queries that theta is searched on
_THETA_BLOCK = 2048


@dataclass(frozen=True)
class MixtureTuning:
    """The tuned settings of a mixture."""

    settings: dict[str, float]
    """The settings of the components, and the weights."""
    check: CrossCheck
    """Whether weights per token generalize; if they do not, the tuned weights are constant."""


@dataclass(frozen=True)
class _NetworkPass:
    """The network's view of valid, N tokens."""

    features: Tensor
    """Features before every word (N, H), by the weights that scored it."""
    trained_features: Tensor
    """The same by the trained weights; empty if there is no index of neighbours."""
    log_probs: Tensor
    """Log probabilities of the words (N,)."""
    signals: Tensor
    """(N, 2)"""
    words: Tensor
    """(N,)"""


def tune_mixture(
    model: LSTMLanguageModel,
    ids: Ids,
    eos_id: int,
    config: EvaluationConfig,
    models: TrainModels,
    progress: StageProgressCallback,
) -> MixtureTuning:
    """Find the settings and weights of a mixture with the lowest loss; arguments as in ``tuning.tune``.

    Raises:
        DataError: If valid is empty.
        EvaluationError: If the weights diverge with the given learning rate.
    """
    ids = ids[: config.tune_tokens or len(ids)]
    given, tuned = config.settings(), dict[str, float]()
    if models.rms is not None:
        evaluator = DynamicEvaluator(model, models.rms, config.words_per_window)
        tuned |= DynamicSearch(evaluator, ids[:_DYNAMIC_TOKENS], eos_id, progress).run(given)
    network = _network_pass(model, ids, eos_id, config, tuned, models, progress)
    if config.cache:
        found = search_cache(network.features, network.words, -network.log_probs, given, progress)
        tuned |= {name: found[name] for name in ("cache_window", "cache_theta")}
    if models.index is not None:
        tuned |= _search_theta(models.index, network, config, given, progress)
    mixture = Mixture(config, tuned, models, model.device, ids)
    log_probs, signals = _read_all(mixture, network, progress)
    check = cross_check(mixture.names, mixture.signals, log_probs, signals)
    if check.per_token < check.constant:
        weights = fit_per_token(mixture.names, mixture.signals, log_probs, signals)
    else:
        weights = constant_weights(mixture.names, mixture.signals, fit_constant(log_probs).tolist())
    return MixtureTuning({**tuned, **weights.to_settings()}, check)


def _network_pass(
    model: LSTMLanguageModel,
    ids: Ids,
    eos_id: int,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    models: TrainModels,
    progress: StageProgressCallback,
) -> _NetworkPass:
    features, trained_features, log_probs, signals = [], [], [], []
    done = 0
    announce = models.index is not None
    for announced, chunk in network_chunks(model, ids, eos_id, config, settings, models.rms, announce):
        if announced is not None:
            trained_features.append(announced)
        log_probs.append(chunk.target_log_probs)
        signals.append(network_signals(chunk.log_probabilities))
        features.append(chunk.features)
        done += len(chunk.target_ids)
        progress("scoring valid", done, len(ids))
    trained = torch.cat(trained_features) if trained_features else torch.empty(0)
    words = torch.from_numpy(ids.astype(np.int64)).to(model.device)
    return _NetworkPass(torch.cat(features), trained, torch.cat(log_probs), torch.cat(signals), words)


def _search_theta(
    index: NeighbourIndex,
    network: _NetworkPass,
    config: EvaluationConfig,
    given: Mapping[str, float],
    progress: StageProgressCallback,
) -> dict[str, float]:
    """The theta with the lowest loss of network and neighbours, on blocks spread over valid."""
    if "neighbours_theta" in given:
        return {"neighbours_theta": given["neighbours_theta"]}
    starts = range(0, len(network.words), _THETA_BLOCK)
    starts = starts[:: -(-len(starts) // _THETA_BLOCKS)]
    log_probs, by_theta = [], []
    for done, start in enumerate(starts, start=1):
        block = slice(start, start + _THETA_BLOCK)
        matches = index.search(network.trained_features[block], config.neighbours_k, config.neighbours_probes)
        hits = matches.words == network.words[block].unsqueeze(1)
        by_theta.append(torch.stack([(torch.softmax(matches.scores * t, dim=1) * hits).sum(dim=1) for t in THETAS]))
        log_probs.append(network.log_probs[block])
        progress("search for neighbours_theta", done, len(starts))
    losses = []
    for probs in torch.cat(by_theta, dim=1):
        both = torch.stack([torch.cat(log_probs).double(), probs.double().log()], dim=1)
        weights = torch.from_numpy(fit_constant(both)).to(both.device)
        losses.append(-float((both.exp() @ weights).log().mean()))
    return {"neighbours_theta": float(f"{THETAS[int(np.argmin(losses))]:.3g}")}


def _read_all(mixture: Mixture, network: _NetworkPass, progress: StageProgressCallback) -> tuple[Tensor, Tensor]:
    """The components' log probabilities (N, K) and signals (N, F)."""
    log_probs, signals, done = [], [], 0
    block = block_length(network.words.device)
    for features, words in chunks(network.features, network.words):
        if done % block == 0:
            mixture.search(network.trained_features[done : done + block])
        chunk = slice(done, done + len(words))
        reading = mixture.read(network.log_probs[chunk], network.signals[chunk], features, words)
        log_probs.append(reading.log_probs)
        signals.append(reading.signals)
        done += len(words)
        progress("components on valid", done, len(network.words))
    return torch.cat(log_probs), torch.cat(signals)
