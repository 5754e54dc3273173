"""Evaluation with a mixture of the network and other models of the text, all of which know earlier words only.

    p(w) = sum over the components of weight(component) * p(w | component)

The components are the network (with fixed weights, or dynamically evaluated), a neural cache of recent words, an n-gram
model of train, and nearest neighbours among the features of train. The weights follow from signals before the word
(``mixture_weights``), so the mixture is a distribution before every word.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lstm_lm.data.encoding import Ids
from lstm_lm.data.ngram import KneserNeyNgram
from lstm_lm.evaluation.cache import NeuralCache
from lstm_lm.evaluation.components import CacheComponent, Component, Contribution, NeighbourComponent, NgramComponent
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.dynamic import GradientRMS
from lstm_lm.evaluation.intervals import bootstrap
from lstm_lm.evaluation.mixture_weights import MixtureWeights, constant_weights, weight_names, weights_from_settings
from lstm_lm.evaluation.neighbours import NeighbourIndex
from lstm_lm.evaluation.network import NETWORK_SIGNALS, network_chunks, network_signals
from lstm_lm.evaluation.progress import ProgressCallback
from lstm_lm.evaluation.score import Score, ScoreMetric, target_rank
from lstm_lm.nn.device import wait_for
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary

NETWORK = "network"
_DEFAULT_WEIGHTS = {"cache": 0.15, "ngram": 0.05, "neighbours": 0.1}  # until they are tuned; the network has the rest


@dataclass(frozen=True)
class TrainModels:
    """What the components of a mixture know about train; ``None`` for those that it does not use."""

    ngram: KneserNeyNgram | None
    index: NeighbourIndex | None
    rms: GradientRMS | None


@dataclass(frozen=True)
class MixtureScore:
    """A score, and what each component contributed."""

    score: Score
    weights: dict[str, float]
    """Mean weight of each component."""
    seconds: dict[str, float]
    """Time that each component took."""
    per_token: bool
    """Whether the weights follow from signals of each token."""


@dataclass(frozen=True)
class Reading:
    """All components before each of n words."""

    log_probs: Tensor
    """Log probabilities of the words that came (n, K), the network first."""
    signals: Tensor
    """(n, F), float64."""
    contributions: list[Contribution]
    """Of the components beside the network."""


class Mixture:
    """The network and the components that one stream is scored with.

    Args:
        config: Which components, and their sizes.
        settings: ``cache_window`` and ``cache_theta``, ``neighbours_theta``, where used.
        models: What the components know about train.
        device: Of the network.
        ids: The stream (N,).
    """

    def __init__(
        self,
        config: EvaluationConfig,
        settings: Mapping[str, float],
        models: TrainModels,
        device: torch.device,
        ids: Ids,
    ) -> None:
        self._device = device
        self._components: dict[str, Component] = {}
        self._neighbours: NeighbourComponent | None = None
        if config.cache:
            window, theta = int(settings["cache_window"]), settings["cache_theta"]
            self._components["cache"] = CacheComponent(NeuralCache(window, theta, 1.0))
        if models.ngram is not None:
            self._components["ngram"] = NgramComponent(models.ngram, ids)
        if models.index is not None:
            self._neighbours = NeighbourComponent(
                models.index, config.neighbours_k, config.neighbours_probes, settings["neighbours_theta"]
            )
            self._components["neighbours"] = self._neighbours
        self.names = (NETWORK, *self._components)
        self.signals = (*NETWORK_SIGNALS, *(s for part in self._components.values() for s in part.signals))
        self.seconds = dict.fromkeys(self.names, 0.0)

    def search(self, features: Tensor) -> None:
        """Announce the next words (n, H) to the neighbours, by features of the network with its trained weights."""
        if self._neighbours is not None:
            with self._timed("neighbours"):
                self._neighbours.search(features)

    def read(self, log_probs: Tensor, signals: Tensor, features: Tensor, target_ids: Tensor) -> Reading:
        """Read the next words of the stream.

        Args:
            log_probs: The network's log probabilities of the words (n,).
            signals: Its :func:`network_signals` (n, 2).
            features: Its features before every word (n, H).
            target_ids: The words (n,).
        """
        contributions = []
        for name, component in self._components.items():
            with self._timed(name):
                contributions.append(component.read(features, target_ids))
        columns = [log_probs.double()]
        columns += [torch.where(c.mass > 0, c.target_probs.double().log(), columns[0]) for c in contributions]
        all_signals = torch.cat([signals.double(), *(c.signals.double() for c in contributions)], dim=1)
        return Reading(torch.stack(columns, dim=1), all_signals, contributions)

    def mix(self, log_probabilities: Tensor, reading: Reading, weights: MixtureWeights) -> tuple[Tensor, Tensor]:
        """The distributions of the mixture.

        Args:
            log_probabilities: The network's (n, V). Overwritten.
            reading: From :meth:`read`.
            weights: Of the components ``names``.

        Returns:
            Probabilities (n, V), in the memory of ``log_probabilities``, and the components' shares of them (n, K).
        """
        shares = weights.log_weights(reading.signals).exp().float()
        # what knows nothing leaves its share to the network
        for column, contribution in enumerate(reading.contributions, start=1):
            shares[:, 0] += shares[:, column] * (1.0 - contribution.mass)
            shares[:, column] *= contribution.mass
        mixture = log_probabilities.exp_().mul_(shares[:, :1])
        for column, contribution in enumerate(reading.contributions, start=1):
            with self._timed(self.names[column]):
                contribution.add_to(mixture, shares[:, column])
        return mixture, shares

    def weights(self, settings: Mapping[str, float]) -> MixtureWeights:
        """The tuned weights in ``settings``, or the default ones."""
        if all(name in settings for name in weight_names(self.names, self.signals)):
            return weights_from_settings(self.names, self.signals, settings)
        others = [_DEFAULT_WEIGHTS[name] for name in self.names[1:]]
        return constant_weights(self.names, self.signals, [1.0 - sum(others), *others])

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        wait_for(self._device)
        start = time.perf_counter()
        yield
        wait_for(self._device)
        self.seconds[name] += time.perf_counter() - start


def evaluate_mixture(
    model: LSTMLanguageModel,
    ids: Ids,
    vocabulary: Vocabulary,
    config: EvaluationConfig,
    settings: Mapping[str, float],
    models: TrainModels,
    progress: ProgressCallback | None = None,
) -> MixtureScore:
    """Score every token of a split with the exact mixture.

    Args:
        model: The network. Its mode and weights are unchanged afterwards.
        ids: The split (N,).
        vocabulary: The vocabulary of ``model`` and ``ids``.
        config: The components.
        settings: Their settings, and the weights.
        models: What they know about train.
        progress: Called after each chunk of words with the tokens done and the total.

    Raises:
        DataError: If the split is empty.
        EvaluationError: If the weights of dynamic evaluation diverge.
    """
    mixture = Mixture(config, settings, models, model.device, ids)
    weights = mixture.weights(settings)
    metric, nlls, done = ScoreMetric(vocabulary).to(model.device), [], 0
    total_shares = torch.zeros(len(mixture.names), dtype=torch.float64, device=model.device)
    start = time.perf_counter()
    announce = models.index is not None
    for announced, chunk in network_chunks(model, ids, vocabulary.eos_id, config, settings, models.rms, announce):
        if announced is not None:
            mixture.search(announced)
        signals = network_signals(chunk.log_probabilities)
        reading = mixture.read(chunk.target_log_probs, signals, chunk.features, chunk.target_ids)
        nll = weights.loss(reading.log_probs, reading.signals)
        probabilities, shares = mixture.mix(chunk.log_probabilities, reading, weights)
        metric.update(nll, target_rank(probabilities, chunk.target_ids), chunk.target_ids)
        nlls.append(nll.cpu().numpy())
        total_shares += shares.sum(dim=0)
        done += len(nll)
        if progress is not None:
            progress(done, len(ids))
    mixture.seconds[NETWORK] = time.perf_counter() - start - sum(mixture.seconds.values())
    return MixtureScore(
        metric.score(bootstrap(np.concatenate(nlls), ids, vocabulary)),
        dict(zip(mixture.names, (total_shares / done).tolist(), strict=True)),
        mixture.seconds,
        bool(weights.matrix[:, :-1].any()),
    )
