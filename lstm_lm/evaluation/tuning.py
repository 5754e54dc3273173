"""Tunes the settings of an evaluation on valid.

The cache is tuned on features computed once: the loss needs only the cache's probability of each target, for all thetas
and windows. Dynamic evaluation runs once per trial, with one setting changed at a time. Given settings stay fixed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lstm_lm.data.encoding import Ids
from lstm_lm.errors import EvaluationError
from lstm_lm.evaluation.cache_search import search_cache
from lstm_lm.evaluation.config import DEFAULTS, TUNABLE, EvaluationConfig
from lstm_lm.evaluation.dynamic import DynamicEvaluator, GradientRMS
from lstm_lm.evaluation.network import network_chunks
from lstm_lm.evaluation.progress import StageProgressCallback
from lstm_lm.nn.model import LSTMLanguageModel

MAX_TRIALS = 11
_MAX_LR_STARTS = 4  # initial learning rates, each a quarter of the previous, until one beats lr = 0
_PRUNE_AFTER = 0.25  # share of the tokens after which a trial can be pruned
_PRUNE_MARGIN = 0.03  # prunes a trial this many nats per token behind the best trial at the same position


def tune(
    model: LSTMLanguageModel,
    ids: Ids,
    eos_id: int,
    config: EvaluationConfig,
    rms: GradientRMS | None,
    progress: StageProgressCallback,
) -> dict[str, float]:
    """Find the settings of an evaluation with the lowest loss.

    Args:
        model: The network. Not modified.
        ids: The valid split (N,), of which the first ``config.tune_tokens`` are used.
        eos_id: Id of ``<eos>``.
        config: The evaluation. Settings that it gives stay fixed.
        rms: From ``gradient_rms``, for the dynamic evaluations.
        progress: Called with the name of the stage, the tokens or blocks done and the total.

    Returns:
        Every tunable setting of the evaluation.

    Raises:
        DataError: If valid is empty.
        EvaluationError: If the weights diverge with the given learning rate.
    """
    ids = ids[: config.tune_tokens or len(ids)]
    given, tuned = config.settings(), dict[str, float]()
    if rms is None:
        nll, features = _score_static(model, ids, eos_id, config, progress)
    else:
        evaluator = DynamicEvaluator(model, rms, config.words_per_window)
        search = DynamicSearch(evaluator, ids, eos_id, progress)
        tuned |= search.run(given)
        nll, features = search.best.nll, torch.cat(search.best.features)
    if "cache_weight" in TUNABLE[config.name]:
        words = torch.from_numpy(ids.astype(np.int64)).to(model.device)
        tuned |= search_cache(features, words, torch.from_numpy(nll).to(model.device), given, progress)
    return tuned


def _score_static(
    model: LSTMLanguageModel, ids: Ids, eos_id: int, config: EvaluationConfig, progress: StageProgressCallback
) -> tuple[NDArray[np.float64], Tensor]:
    """Negative log likelihood (N,) and features (N, H) of the network without a cache."""
    nlls, features = [], []
    done = 0
    for _, chunk in network_chunks(model, ids, eos_id, config, {}, None, announce=False):
        nlls.append(-chunk.target_log_probs.double().cpu().numpy())
        features.append(chunk.features)
        done += len(chunk.target_ids)
        progress("scoring valid", done, len(ids))
    return np.concatenate(nlls), torch.cat(features)


@dataclass(frozen=True)
class _Trial:
    """The result of one evaluation of valid."""

    loss: float
    """Nats per token; infinite for a pruned trial."""
    nll: NDArray[np.float64]
    """Negative log likelihood of every token (N,)."""
    features: list[Tensor]
    """Features before every token, one tensor per chunk."""


class DynamicSearch:
    """Coordinate search for learning rate and decay."""

    def __init__(self, evaluator: DynamicEvaluator, ids: Ids, eos_id: int, progress: StageProgressCallback) -> None:
        self._evaluator = evaluator
        self._ids = ids
        self._eos_id = eos_id
        self._progress = progress
        self._losses: dict[tuple[float, float], float] = {}
        self.best = _Trial(np.inf, np.empty(0), [])

    def run(self, given: Mapping[str, float]) -> dict[str, float]:
        """Find the best settings; those in ``given`` stay fixed. lr = 0 if nothing beats static evaluation."""
        settings = {name: given.get(name, DEFAULTS[name]) for name in TUNABLE["dynamic"]}
        if "lr" not in given:
            self._improves({"lr": 0.0, "decay": 0.0})
            while not self._improves(settings):
                settings["lr"] = float(f"{settings['lr'] / 4.0:.3g}")
                if len(self._losses) > _MAX_LR_STARTS:
                    return {**settings, "lr": 0.0}
        elif not self._improves(settings):
            raise EvaluationError(
                f"the weights diverge on valid with evaluation.lr={settings['lr']:g}; lower it, or set it to null"
            )
        for name, factor in (("lr", 2.0), ("decay", 2.0), ("lr", 2.0**0.5)):
            if name not in given:
                settings = self._line_search(settings, name, factor)
        return settings

    def _line_search(self, settings: dict[str, float], name: str, factor: float) -> dict[str, float]:
        """Multiply one setting by ``factor`` while the loss improves; if it does not, divide instead."""
        for step in (factor, 1.0 / factor):
            initial = settings
            while len(self._losses) < MAX_TRIALS:
                candidate = {**settings, name: float(f"{settings[name] * step:.3g}")}
                if not self._improves(candidate):
                    break
                settings = candidate
            if settings is not initial:
                break
        return settings

    def _improves(self, settings: Mapping[str, float]) -> bool:
        """Run a trial, unless these settings were tried before, and return whether it is the best so far."""
        key = (settings["lr"], settings["decay"])
        if key in self._losses:
            return False
        trial = self._run_trial(*key)
        self._losses[key] = trial.loss
        if trial.loss < self.best.loss:
            self.best = trial
            return True
        return False

    def _run_trial(self, lr: float, decay: float) -> _Trial:
        nll, features = np.empty(len(self._ids)), list[Tensor]()
        total, best_totals, done = 0.0, np.cumsum(self.best.nll), 0
        for chunk in self._evaluator.score_stream(self._ids, self._eos_id, lr, decay):
            count = len(chunk.target_ids)
            nll[done : done + count] = -chunk.target_log_probs.cpu().numpy()
            features.append(chunk.features)
            total += float(nll[done : done + count].sum())
            done += count
            self._progress(f"trial {len(self._losses) + 1} of at most {MAX_TRIALS}", done, len(self._ids))
            can_prune = done >= _PRUNE_AFTER * len(self._ids) and len(best_totals)
            if not np.isfinite(total) or (can_prune and total - best_totals[done - 1] > _PRUNE_MARGIN * done):
                return _Trial(np.inf, nll, features)
        return _Trial(total / len(self._ids), nll, features)
