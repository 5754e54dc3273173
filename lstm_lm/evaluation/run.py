"""Evaluate a model on a split of a corpus: tune on request, then score."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstm_lm.data.cache import build_once, cache_root
from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import Ids, encode_split
from lstm_lm.data.ngram import KneserNeyNgram
from lstm_lm.evaluation.config import WEIGHTS, EvaluationConfig, resolve_settings
from lstm_lm.evaluation.dynamic import GradientRMS, gradient_rms
from lstm_lm.evaluation.keyboard import KeyboardScore, evaluate_keyboard
from lstm_lm.evaluation.mixture import TrainModels, evaluate_mixture
from lstm_lm.evaluation.mixture_tuning import tune_mixture
from lstm_lm.evaluation.mixture_weights import CrossCheck
from lstm_lm.evaluation.neighbours import INDEX_FORMAT, NeighbourIndex, build_index
from lstm_lm.evaluation.progress import StageProgressCallback
from lstm_lm.evaluation.score import Score
from lstm_lm.evaluation.static import evaluate_static
from lstm_lm.evaluation.stream import evaluate_stream
from lstm_lm.evaluation.tuning import tune
from lstm_lm.nn.device import find_device, use_exact_float32
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary


def _report_nothing(_stage: str, _done: int, _total: int) -> None:
    pass


@dataclass(frozen=True)
class MixtureReport:
    """How the components of a mixture contributed to a score."""

    weights: dict[str, float]
    """Mean weight of each component over the split."""
    seconds: dict[str, float]
    """Time that each component took to score the split."""
    per_token: bool
    """Whether the weights follow from signals of each token; otherwise they are constant."""
    cross_check: CrossCheck | None
    """If the weights were tuned in this call: how they generalize from one half of valid to the other."""


@dataclass(frozen=True)
class EvaluationResult:
    """A score and the settings that it was reached with."""

    score: Score | KeyboardScore
    settings: dict[str, float]
    """Settings of the evaluation; empty for ``static`` and ``keyboard``."""
    sources: dict[str, str]
    """Source of each setting: ``given``, ``tuned`` or ``default``."""
    mixture: MixtureReport | None = None
    """For ``mixture`` only."""


def evaluate(
    model: LSTMLanguageModel,
    vocabulary: Vocabulary,
    data: DataConfig,
    config: EvaluationConfig,
    split: str = "test",
    *,
    tuned: Mapping[str, float] | None = None,
    on_tuned: Callable[[dict[str, float]], None] | None = None,
    accelerator: str = "cpu",
    report: StageProgressCallback = _report_nothing,
) -> EvaluationResult:
    """Score a model on a split.

    Args:
        model: The network; its weights are unchanged afterwards.
        vocabulary: Its vocabulary.
        data: The corpus, with the model's tokenizer.
        config: The evaluation. Its settings take precedence over tuned ones, and those over defaults.
        split: ``train``, ``valid`` or ``test``.
        tuned: Settings from an earlier tuning of this model.
        on_tuned: Tune the settings on valid, call this function with them, then score with them.
        accelerator: ``cpu``, ``gpu`` or ``auto``, the device that the model is moved to.
        report: Called with the current stage, the steps done and the total.

    Raises:
        ConfigError: If ``data`` has problems.
        DataError: If the corpus cannot be read.
        EvaluationError: If the weights of dynamic evaluation diverge, or no GPU is found for ``accelerator``.
    """
    device = find_device(accelerator)
    use_exact_float32(device)
    evaluator = _Evaluator(model.to(device), vocabulary, data, config, report)
    if on_tuned is not None:
        tuned = evaluator.tune()
        on_tuned(tuned)
    settings, sources = resolve_settings(config, tuned or {})
    if config.name != "mixture":
        return EvaluationResult(evaluator.score(split, settings), settings, sources)
    weights = {name: value for name, value in (tuned or {}).items() if name.startswith(WEIGHTS)}
    score, mixture = evaluator.score_mixture(split, settings, weights)
    return EvaluationResult(score, settings, sources, mixture)


class _Evaluator:
    """Tunes and scores one model; computes what it needs of train at most once."""

    def __init__(
        self,
        model: LSTMLanguageModel,
        vocabulary: Vocabulary,
        data: DataConfig,
        config: EvaluationConfig,
        report: StageProgressCallback,
    ) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._data = data
        self._config = config
        self._report = report
        self._gradients: GradientRMS | None = None
        self._models: TrainModels | None = None
        self._cross_check: CrossCheck | None = None

    def tune(self) -> dict[str, float]:
        if self._config.name == "mixture":
            eos_id, models = self._vocabulary.eos_id, self._train_models()
            tuning = tune_mixture(self._model, self._ids("valid"), eos_id, self._config, models, self._report)
            self._cross_check = tuning.check
            return tuning.settings
        gradients = self._gradient_rms() if self._config.updates_weights else None
        ids = self._ids("valid")
        return tune(self._model, ids, self._vocabulary.eos_id, self._config, gradients, self._report)

    def score_mixture(
        self, split: str, settings: dict[str, float], weights: dict[str, float]
    ) -> tuple[Score, MixtureReport]:
        models = self._train_models()

        def progress(done: int, total: int) -> None:
            self._report(f"mixture evaluation of {split}", done, total)

        result = evaluate_mixture(
            self._model, self._ids(split), self._vocabulary, self._config, settings | weights, models, progress
        )
        return result.score, MixtureReport(result.weights, result.seconds, result.per_token, self._cross_check)

    def score(self, split: str, settings: dict[str, float]) -> Score | KeyboardScore:
        model, vocabulary, config = self._model, self._vocabulary, self._config
        ids = self._ids(split)

        def progress(done: int, total: int) -> None:
            self._report(f"{config.name} evaluation of {split}", done, total)

        if config.name == "static":
            return evaluate_static(model, ids, vocabulary, config, progress)
        if config.name == "keyboard":
            return evaluate_keyboard(model, ids, vocabulary, config, progress)
        rms = self._gradient_rms() if config.updates_weights else None
        return evaluate_stream(model, ids, vocabulary, config, settings, rms, progress)

    def _ids(self, split: str) -> Ids:
        return encode_split(self._data, split, self._vocabulary)

    def _gradient_rms(self) -> GradientRMS:
        if self._gradients is None:
            ids = self._ids("train")

            def progress(done: int, total: int) -> None:
                self._report("gradients of train", done, total)

            self._gradients = gradient_rms(self._model, ids, self._vocabulary.eos_id, self._config, progress)
        return self._gradients

    def _train_models(self) -> TrainModels:
        if self._models is None:
            config, eos_id = self._config, self._vocabulary.eos_id
            ngram = index = None
            if config.ngram:
                self._report("n-grams of train", 0, 1)
                ngram = KneserNeyNgram(self._ids("train"), len(self._vocabulary), eos_id, config.ngram_order)
                self._report("n-grams of train", 1, 1)
            if config.neighbours:
                index = self._neighbour_index(self._ids("train")[: config.neighbours_tokens])
            self._models = TrainModels(ngram, index, self._gradient_rms() if config.dynamic else None)
        return self._models

    def _neighbour_index(self, ids: Ids) -> NeighbourIndex:
        """The index of a text, kept in the cache folder for this network and text."""
        digest = hashlib.sha256(f"{INDEX_FORMAT} {self._model.config}".encode())
        for tensor in self._model.state_dict().values():
            digest.update(tensor.detach().cpu().numpy().tobytes())
        digest.update(np.ascontiguousarray(ids).tobytes())
        folder = cache_root(self._data) / f"features-{digest.hexdigest()[:20]}"

        def write(partial: Path) -> None:
            build_index(self._model, ids, self._vocabulary.eos_id, partial, self._report)

        build_once(folder, write)
        return NeighbourIndex(folder, self._model.device)
