"""``lstm-lm eval``."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_lm.cli.command_help import command_help, wants_help

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lstm_lm.evaluation.config import EvalConfig
    from lstm_lm.evaluation.progress import StageProgressCallback

log = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    """Score a checkpoint or a bundle."""
    if wants_help(argv):
        print(command_help("eval"))
        return
    from lstm_lm.cli.hydra_run import run

    run("eval", argv, job)


def job(config: EvalConfig, run_dir: Path) -> float | None:
    """Score one model, print the result and write it to ``metrics.json``; returns its perplexity.

    With ``tune``, the settings of the evaluation are first tuned on valid and saved in the checkpoint. An interrupted
    tuning saves nothing.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or the tuned settings cannot be saved.
        BundleError: If the bundle cannot be read.
        ConfigError: If the model's corpus is unknown, or a bundle is to be tuned.
        DataError: If the corpus cannot be read.
        EvaluationError: If the weights of dynamic evaluation diverge.
    """
    from lstm_lm.checkpoint import Checkpoint
    from lstm_lm.cli.eval_report import print_score
    from lstm_lm.errors import ConfigError
    from lstm_lm.evaluation.run import evaluate
    from lstm_lm.evaluation.score import Score
    from lstm_lm.loading import load_model
    from lstm_lm.text.files import write_json

    trained, name = load_model(config.checkpoint), config.evaluation.label
    on_tuned = None
    if config.tune:
        if not isinstance(trained, Checkpoint):
            raise ConfigError(
                [f"tune: cannot save settings in a bundle (got {trained.path}); tune the checkpoint it came from"]
            )
        on_tuned = partial(trained.save_tuned, name)
    with _progress_bars() as report:
        result = evaluate(
            trained.network,
            trained.vocabulary,
            trained.corpus(config.data),
            config.evaluation,
            config.split,
            tuned=trained.tuned.get(name),
            on_tuned=on_tuned,
            accelerator=config.accelerator,
            report=report,
        )
    metrics = {"split": config.split, "evaluation": name, "streams": config.evaluation.batch_size}
    metrics |= result.score.to_dict()
    if result.settings:
        metrics |= {"settings": result.settings, "settings_from": result.sources}
    if result.mixture is not None:
        metrics |= {"mixture": asdict(result.mixture)}
    # printed before it is written: a full disk must not cost the result of a long evaluation
    print_score(config, result, run_dir)
    log.info("%s on %s: %s", config.checkpoint, config.split, json.dumps(metrics))
    write_json(run_dir / "metrics.json", metrics)
    return result.score.perplexity if isinstance(result.score, Score) else None


@contextmanager
def _progress_bars() -> Iterator[StageProgressCallback]:
    """Progress bars on standard error, one per stage."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
