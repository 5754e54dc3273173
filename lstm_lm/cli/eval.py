"""``lstm-lm eval``."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_lm.cli.command_help import command_help, wants_help

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from lstm_lm.config.schema import EvalConfig
    from lstm_lm.data.config import DataConfig
    from lstm_lm.evaluation.dynamic import GradientRMS
    from lstm_lm.evaluation.keyboard import KeyboardScore
    from lstm_lm.evaluation.score import Score
    from lstm_lm.export.checkpoint import TrainedModel

    Report = Callable[[str, int, int], None]

log = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    """Score a checkpoint or a bundle as the overrides say."""
    if wants_help(argv):
        print(command_help("eval"))
        return
    from lstm_lm.cli.hydra_run import run

    run("eval", argv, job)


def job(config: EvalConfig, run_dir: Path) -> None:
    """Score one model, print the figures and write them to ``metrics.json``.

    With ``tune`` the settings of the evaluation are first chosen on valid, never on the split to be scored unless it
    is valid, and saved with the checkpoint. An interrupted tuning saves nothing.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or cannot take the tuned settings.
        BundleError: If the bundle cannot.
        ConfigError: If the corpus it was trained on cannot be found again, or a bundle is to be tuned.
        DataError: If the corpus cannot be read.
        EvaluationError: If the weights of dynamic evaluation diverge.
    """
    from lstm_lm.cli.eval_report import print_score
    from lstm_lm.errors import ConfigError
    from lstm_lm.evaluation.config import resolve_settings
    from lstm_lm.export.checkpoint import load_trained
    from lstm_lm.export.model_path import resolve_model_path
    from lstm_lm.text.files import write_json

    path, evaluation = resolve_model_path(Path(config.checkpoint)), config.evaluation
    if config.tune and path.is_dir():
        raise ConfigError(
            [f"tune: a bundle is sealed and cannot keep settings (got {path}); tune the checkpoint it came from"]
        )
    modified = path.stat().st_mtime_ns
    trained = load_trained(path)
    scorer = _Evaluation(config, trained, _corpus(config, trained))
    with _progress() as report:
        tuned = trained.tuned.get(evaluation.name, {})
        if config.tune:
            from lstm_lm.training.checkpoint_io import save_tuned

            tuned = scorer.tune(report)
            save_tuned(path, evaluation.name, tuned, modified)
        settings, sources = resolve_settings(evaluation, tuned)
        score = scorer.score(settings, report)
    metrics = {"split": config.split, "evaluation": evaluation.name, **score.to_dict()}
    if settings:
        metrics |= {"settings": settings, "settings_from": sources}
    # shown before it is written: a full disk must not cost the figures of an hour
    print_score(config, score, settings, sources, run_dir)
    log.info("%s on %s: %s", config.checkpoint, config.split, json.dumps(metrics))
    write_json(run_dir / "metrics.json", metrics)


def _corpus(config: EvalConfig, trained: TrainedModel) -> DataConfig:
    """The corpus to score, its words cut as the model's were."""
    from lstm_lm.errors import ConfigError

    data = replace(config.data or trained.data, tokenizer=trained.tokenizer)
    # what is wrong with a corpus of the checkpoint is one thing: it has to be named
    if config.data is None and (reason := _why_not_found(data)):
        raise ConfigError(
            [f"data: the corpus of {config.checkpoint} {reason}; say where it is now, with {_remedy(data)}"]
        )
    if problems := [f"data.{problem}" for problem in data.problems()]:
        raise ConfigError(problems)
    return data


def _why_not_found(data: DataConfig) -> str | None:
    if data.dir and not Path(data.dir).expanduser().is_dir():
        return f"was in {data.dir}, and there is no such folder"
    if data.hub_path and data.hub_path.startswith("/") and not Path(data.hub_path).is_dir():
        return f"was in {data.hub_path}, and there is no such folder"
    return "is not named in it" if data.problems() else None


def _remedy(data: DataConfig) -> str:
    from lstm_lm.data.config import HUB_CORPORA

    if data.source in HUB_CORPORA:
        return f"data={data.source}, and data.hub_path=FOLDER for a copy of your own"
    return f"data={data.source} data.dir=FOLDER"


class _Evaluation:
    """The evaluation that a config asks for; the usual gradients are measured once, if they are needed."""

    def __init__(self, config: EvalConfig, trained: TrainedModel, data: DataConfig) -> None:
        self._config = config
        self._evaluation = config.evaluation
        self._trained = trained
        self._data = data
        self._usual: GradientRMS | None = None

    def tune(self, report: Report) -> dict[str, float]:
        """Choose the settings on valid."""
        from lstm_lm.evaluation.tuning import tune

        eos_id = self._trained.vocabulary.eos_id
        usual = self._gradient_rms(report) if "lr" in self._evaluation.tunable else None
        return tune(self._trained.model, self._ids("valid"), eos_id, self._evaluation, usual, report)

    def score(self, settings: dict[str, float], report: Report) -> Score | KeyboardScore:
        """Score the split."""
        from lstm_lm.evaluation.cache import evaluate_cache
        from lstm_lm.evaluation.dynamic import evaluate_dynamic
        from lstm_lm.evaluation.keyboard import evaluate_keyboard
        from lstm_lm.evaluation.static import evaluate_static
        from lstm_lm.nn.device import use_exact_float32

        split = self._config.split
        model, vocabulary, evaluation = self._trained.model, self._trained.vocabulary, self._evaluation
        ids = self._ids(split)

        def progress(done: int, total: int) -> None:
            report(f"{evaluation.name} evaluation of {split}", done, total)

        if evaluation.name == "static":
            device = self._device()
            use_exact_float32(device)
            model.to(device)
            return evaluate_static(model, ids, vocabulary, evaluation, progress)
        if evaluation.name == "keyboard":
            return evaluate_keyboard(model, ids, vocabulary, evaluation, progress)
        if evaluation.name == "cache":
            return evaluate_cache(model, ids, vocabulary, evaluation, settings, progress)
        return evaluate_dynamic(model, ids, vocabulary, evaluation, settings, self._gradient_rms(report), progress)

    def _device(self) -> torch.device:
        from lstm_lm.errors import EvaluationError
        from lstm_lm.nn.device import find_device

        try:
            return find_device(self._config.accelerator)
        except ValueError as error:
            raise EvaluationError(str(error)) from error

    def _ids(self, split: str) -> NDArray[np.int32]:
        from lstm_lm.data.encoding import encode_split

        return encode_split(self._data, split, self._trained.vocabulary)

    def _gradient_rms(self, report: Report) -> GradientRMS:
        from lstm_lm.evaluation.dynamic import gradient_rms

        if self._usual is None:
            self._usual = gradient_rms(
                self._trained.model,
                self._ids("train"),
                self._trained.vocabulary.eos_id,
                self._evaluation,
                lambda done, total: report("gradients of train", done, total),
            )
        return self._usual


@contextmanager
def _progress() -> Iterator[Report]:
    """Progress bars, one for each thing that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total)

        yield report
