"""``lstm-lm eval``."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_lm.cli.command_help import command_help, wants_help

if TYPE_CHECKING:
    from collections.abc import Callable

    from lstm_lm.config.schema import EvalConfig
    from lstm_lm.evaluation.keyboard import KeyboardScore
    from lstm_lm.evaluation.score import Score

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

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        BundleError: If the bundle cannot.
        ConfigError: If the corpus it was trained on cannot be found again.
        DataError: If the corpus cannot be read.
    """
    from lstm_lm.data.encoding import encode_split
    from lstm_lm.errors import ConfigError
    from lstm_lm.export.checkpoint import load_trained
    from lstm_lm.text.files import write_json

    trained = load_trained(Path(config.checkpoint))
    # whatever the corpus, its words must be cut as the model's were
    data = replace(config.data or trained.data, tokenizer=trained.tokenizer)
    problems = [f"data.{problem}" for problem in data.problems()]
    if problems:
        hint = (
            f"{config.checkpoint} does not say where its corpus lies; choose one, as in data=text_files data.dir=FOLDER"
        )
        raise ConfigError([*problems, *([] if config.data else [hint])])
    ids = encode_split(data, config.split, trained.vocabulary)
    score = _score(config, trained.model, ids, trained.vocabulary)
    metrics = {"split": config.split, "evaluation": config.evaluation.name, **score.to_dict()}
    write_json(run_dir / "metrics.json", metrics)
    log.info("%s on %s: %s", config.checkpoint, config.split, json.dumps(metrics))
    _print_score(config, score, run_dir)


def _score(config: EvalConfig, model: Any, ids: Any, vocabulary: Any) -> Score | KeyboardScore:
    """Score a split under a progress bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from lstm_lm.evaluation.keyboard import evaluate_keyboard
    from lstm_lm.evaluation.static import evaluate_static

    evaluations: dict[str, Callable[..., Score | KeyboardScore]] = {
        "static": evaluate_static,
        "keyboard": evaluate_keyboard,
    }
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{config.evaluation.name} evaluation of {config.split}", total=len(ids))
        return evaluations[config.evaluation.name](
            model, ids, vocabulary, config.evaluation, lambda done, total: bar.update(task, completed=done, total=total)
        )


def _print_score(config: EvalConfig, score: Score | KeyboardScore, run_dir: Path) -> None:
    from lstm_lm.cli.console import near_path, print_pairs
    from lstm_lm.evaluation.score import Score

    pairs = _static_pairs(score) if isinstance(score, Score) else _keyboard_pairs(score)
    title = f"{config.split}, {config.evaluation.name} evaluation"
    print_pairs(title, [*pairs, ("figures", near_path(run_dir / "metrics.json"))])


def _static_pairs(score: Score) -> list[tuple[str, str]]:
    from lstm_lm.cli.console import number, percent

    words = score.words
    return [
        ("perplexity", number(score.perplexity)),
        ("loss", f"{number(score.loss, 4)} nats a token"),
        ("top-1, top-3, top-5", ", ".join(map(percent, (score.top1, score.top3, score.top5)))),
        ("the same over words", ", ".join(map(percent, (words.top1, words.top3, words.top5)))),
        ("tokens, words", f"{score.tokens:,}, {words.tokens:,}"),
        ("<unk>", percent(score.unk_rate)),
    ]


def _keyboard_pairs(score: KeyboardScore) -> list[tuple[str, str]]:
    from lstm_lm.cli.console import percent

    return [
        ("keystrokes saved", percent(score.keystroke_savings_rate)),
        ("keystrokes without, with", f"{score.keystrokes:,}, {score.keystrokes_with_suggestions:,}"),
        ("words taken from the bar", percent(score.taken)),
        ("top-1, top-3 before a letter", ", ".join(map(percent, (score.words.top1, score.words.top3)))),
        ("tokens, real words", f"{score.tokens:,}, {score.words.tokens:,}"),
    ]
