"""``lstm-lm train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_lm.cli.command_help import command_help, wants_help

if TYPE_CHECKING:
    from lstm_lm.config.schema import TrainConfig


def main(argv: list[str]) -> None:
    """Train as the overrides say."""
    if wants_help(argv):
        print(command_help("train"))
        return
    from lstm_lm.cli.hydra_run import run

    run("train", argv, job)


def job(config: TrainConfig, run_dir: Path) -> None:
    """Train one model and print how it went and what can be done with it."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lstm_lm.cli.console import first_process
    from lstm_lm.training.run import train

    metrics = train(config, run_dir)
    if not first_process():
        return
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _print_line(metrics, run_dir)
    else:
        _print_end(metrics, run_dir)
        if "valid" in metrics:
            _print_continuations(run_dir)


def _print_line(metrics: dict[str, Any], run_dir: Path) -> None:
    """How a job of a sweep went; the sweep ends with a table of all."""
    from lstm_lm.cli.console import duration, number

    perplexity = number(metrics.get("valid", {}).get("perplexity"))
    print(f"job {run_dir.name}: valid perplexity {perplexity} after {duration(metrics['wall_seconds'])}")


def _print_end(metrics: dict[str, Any], run_dir: Path) -> None:
    from lstm_lm.cli.console import duration, number, percent, print_key_values, relative_path

    pairs = []
    if "overfit" in metrics:
        first, last = metrics["overfit"]["first_loss"], metrics["overfit"]["last_loss"]
        pairs.append(("loss, first and last", f"{number(first, 4)}, {number(last, 4)} ({percent(last / first)})"))
    if "valid" in metrics:
        valid = metrics["valid"]
        pairs += [
            ("valid perplexity", number(valid.get("perplexity"))),
            ("valid loss", f"{number(valid.get('loss'), 4)} nats a token"),
            ("valid top-1, top-5", f"{percent(valid.get('top1'))}, {percent(valid.get('top5'))}"),
            ("ended by", str(metrics["stopped_by"])),
        ]
    pairs += [
        ("epochs, steps", f"{number(metrics['epochs'])}, {metrics['steps']:,}"),
        ("wall time", duration(metrics["wall_seconds"])),
        ("tokens a second", f"{metrics['tokens_per_second']:,.0f}"),
        ("parameters", f"{metrics['parameters']:,} ({metrics['precision']})"),
        ("run folder", relative_path(run_dir)),
    ]
    print_key_values("Training", pairs)


def _print_continuations(run_dir: Path) -> None:
    from hydra.core.hydra_config import HydraConfig

    from lstm_lm.cli.console import print_commands, relative_path
    from lstm_lm.config.overrides import as_override

    checkpoints = run_dir / "checkpoints"
    best = as_override("checkpoint", relative_path(checkpoints / "best.ckpt"))
    resume = as_override("resume", relative_path(checkpoints / "last.ckpt"))
    out = as_override("out", f"exports/{run_dir.name}")
    own = [line for line in HydraConfig.get().overrides.task if not line.startswith("resume=")]
    print_commands(
        [
            ("score it on test", ["lstm-lm", "eval", best]),
            ("make a bundle to predict with and to serve", ["lstm-lm", "export", best, out]),
            ("see the curves", ["tensorboard", "--logdir", relative_path(run_dir)]),
            ("go on, with trainer.budget or trainer.max_epochs raised", ["lstm-lm", "train", *own, resume]),
        ]
    )
