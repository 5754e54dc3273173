"""Choosing the settings of an evaluation on valid.

The cache is tuned from features that are made once: what a word's mixture is worth needs the mass of that word alone,
for all thetas and windows at the same time. Dynamic evaluation is read anew for every trial, one setting moved at a
time. A setting that is given stays; the others are chosen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.errors import EvaluationError
from lstm_lm.evaluation.cache_search import search_cache
from lstm_lm.evaluation.config import DEFAULTS, TUNABLE, EvaluationConfig
from lstm_lm.evaluation.dynamic import DynamicEvaluator, GradientRMS
from lstm_lm.evaluation.forward import eval_mode, stream_features
from lstm_lm.evaluation.score import CHUNK
from lstm_lm.nn.model import LSTMLanguageModel

Ids = NDArray[np.int32]
# called with what is done now, how much of it is done, and how much it is in all
Report = Callable[[str, int, int], None]

MOST_TRIALS = 11
_STARTS = 4  # learning rates, each a quarter of the one before, until one is better than standing still
_GIVE_UP_AFTER = 0.25  # of the tokens ...
_GIVE_UP_BEHIND = 0.03  # ... in nats a token behind the best trial at the same place


def tune(
    model: LSTMLanguageModel,
    ids: Ids,
    eos_id: int,
    config: EvaluationConfig,
    usual: GradientRMS | None,
    report: Report,
) -> dict[str, float]:
    """Choose the settings of an evaluation that give the lowest loss.

    Args:
        model: The network; left as it came in.
        ids: The stream of valid (N,), of which ``config.tune_tokens`` are read.
        eos_id: Id of ``<eos>``.
        config: The evaluation; settings that it gives are not changed.
        usual: From ``gradient_rms``, for the dynamic evaluations.
        report: Told how far tuning is.

    Returns:
        Every tunable setting of the evaluation.

    Raises:
        DataError: If valid is empty.
        EvaluationError: If the weights diverge with the learning rate that is given.
    """
    ids = ids[: config.tune_tokens or len(ids)]
    given, found = config.settings(), dict[str, float]()
    if usual is None:
        nll, features = _read(model, ids, eos_id, config, report)
    else:
        network = DynamicEvaluator(model, usual, config.window_length)
        search = _DynamicSearch(network, ids, eos_id, report)
        found |= search.run(given)
        nll, features = search.best.nll, torch.cat(search.best.features)
    if "cache_weight" in TUNABLE[config.name]:
        words = torch.from_numpy(ids.astype(np.int64))
        found |= search_cache(features, words, torch.from_numpy(nll), given, report)
    return found


def _read(
    model: LSTMLanguageModel, ids: Ids, eos_id: int, config: EvaluationConfig, report: Report
) -> tuple[NDArray[np.float64], Tensor]:
    """Negative log likelihood (N,) and features (N, H) of the network alone."""
    nlls, features = [], []
    done = 0
    with eval_mode(model):
        for window, targets in stream_features(model, ids, config.window_length, eos_id):
            for part, words in zip(torch.split(window, CHUNK), torch.split(targets, CHUNK), strict=True):
                nlls.append(F.cross_entropy(model.logits(part), words, reduction="none").double().numpy())
            features.append(window)
            done += len(targets)
            report("reading valid", done, len(ids))
    return np.concatenate(nlls), torch.cat(features)


@dataclass(frozen=True)
class _Trial:
    """What some settings gave.

    Attributes:
        loss: Nats a token; infinite where it was given up.
        nll: Of every token (N,).
        features: Before every token, segment by segment.
    """

    loss: float
    nll: NDArray[np.float64]
    features: list[Tensor]


class _DynamicSearch:
    """Looks for learning rate and decay, one at a time in steps of a factor, as long as it gets better."""

    def __init__(self, network: DynamicEvaluator, ids: Ids, eos_id: int, report: Report) -> None:
        self._network = network
        self._ids = ids
        self._eos_id = eos_id
        self._report = report
        self._tried: dict[tuple[float, float], float] = {}
        self.best = _Trial(np.inf, np.empty(0), [])

    def run(self, given: Mapping[str, float]) -> dict[str, float]:
        """The best settings; those of ``given`` stay. A learning rate of 0 where none is better than standing still."""
        settings = {name: given.get(name, DEFAULTS[name]) for name in TUNABLE["dynamic"]}
        if "lr" not in given:
            self._try({"lr": 0.0, "decay": 0.0})
            while not self._try(settings):
                settings["lr"] = float(f"{settings['lr'] / 4.0:.3g}")
                if len(self._tried) > _STARTS:
                    return {**settings, "lr": 0.0}
        elif not self._try(settings):
            raise EvaluationError(
                f"the weights diverge on valid with evaluation.lr={settings['lr']:g}; give a lower one, or none"
            )
        for name, factor in (("lr", 2.0), ("decay", 2.0), ("lr", 2.0**0.5)):
            if name not in given:
                settings = self._line_search(settings, name, factor)
        return settings

    def _line_search(self, settings: dict[str, float], name: str, factor: float) -> dict[str, float]:
        """Go up, or else down, as long as it gets better."""
        for step in (factor, 1.0 / factor):
            began = settings
            while len(self._tried) < MOST_TRIALS:
                further = {**settings, name: float(f"{settings[name] * step:.3g}")}
                if not self._try(further):
                    break
                settings = further
            if settings is not began:
                break
        return settings

    def _try(self, settings: Mapping[str, float]) -> bool:
        """Whether some settings are the best so far."""
        key = (settings["lr"], settings["decay"])
        if key in self._tried:
            return False
        trial = self._trial(*key)
        self._tried[key] = trial.loss
        if trial.loss < self.best.loss:
            self.best = trial
            return True
        return False

    def _trial(self, lr: float, decay: float) -> _Trial:
        nll, features = np.empty(len(self._ids)), list[Tensor]()
        total, to_beat, done = 0.0, np.cumsum(self.best.nll), 0
        for segment in self._network.read(self._ids, self._eos_id, lr, decay):
            count = len(segment.nll)
            nll[done : done + count] = segment.nll.numpy()
            features.append(segment.features)
            total += float(nll[done : done + count].sum())
            done += count
            self._report(f"trial {len(self._tried) + 1} of at most {MOST_TRIALS}", done, len(self._ids))
            late = done >= _GIVE_UP_AFTER * len(self._ids) and len(to_beat)
            if not np.isfinite(total) or (late and total - to_beat[done - 1] > _GIVE_UP_BEHIND * done):
                return _Trial(np.inf, nll, features)
        return _Trial(total / len(self._ids), nll, features)
