"""``lstm-lm train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_lm.cli.command_help import command_help, wants_help

if TYPE_CHECKING:
    from lstm_lm.config.schema import TrainConfig


def main(argv: list[str]) -> None:
    """Train one model, or several with ``-m``."""
    if wants_help(argv):
        print(command_help("train"))
        return
    from lstm_lm.cli.hydra_run import run

    run("train", argv, job)


def job(config: TrainConfig, run_dir: Path) -> None:
    """Train one model, then print a summary and the commands to use next."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lstm_lm.cli.console import is_rank_zero
    from lstm_lm.cli.encoding_bar import encoding_bar
    from lstm_lm.data.encoding import ensure_encoded

    # before the import of torch and Lightning, so that a corpus that cannot be read is reported at once
    if is_rank_zero():
        with encoding_bar() as progress:
            ensure_encoded(config.data, progress)
    from lstm_lm.training.run import train

    metrics = train(config, run_dir)
    if not is_rank_zero():
        return
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _print_sweep_job(metrics, run_dir)
    else:
        _print_summary(metrics, run_dir, config.batching.eval_batch_size)
        if "valid" in metrics:
            _print_next_commands(run_dir)


def _print_sweep_job(metrics: dict[str, Any], run_dir: Path) -> None:
    """Print one line; the sweep prints a table of all jobs at the end."""
    from lstm_lm.cli.console import duration, number

    perplexity = number(metrics.get("valid", {}).get("perplexity"))
    print(f"job {run_dir.name}: valid perplexity {perplexity} after {duration(metrics['wall_seconds'])}")


def _print_summary(metrics: dict[str, Any], run_dir: Path, num_streams: int) -> None:
    from lstm_lm.cli.console import duration, number, percent, print_key_values, relative_path, streams

    rows = []
    if "overfit" in metrics:
        first, last = metrics["overfit"]["first_loss"], metrics["overfit"]["last_loss"]
        rows.append(("first, last loss", f"{number(first, 4)}, {number(last, 4)} ({percent(last / first)})"))
    if "valid" in metrics:
        valid = metrics["valid"]
        rows += [
            ("valid perplexity", f"{number(valid.get('perplexity'))} (read as {streams(num_streams)}; eval reads 1)"),
            ("valid loss", f"{number(valid.get('loss'), 4)} nats per token"),
            ("valid top-1, top-5", f"{percent(valid.get('top1'))}, {percent(valid.get('top5'))}"),
            ("stopped by", str(metrics["stopped_by"])),
        ]
    rows += [
        ("epochs, steps", f"{number(metrics['epochs'])}, {metrics['steps']:,}"),
        ("wall time", duration(metrics["wall_seconds"])),
        ("tokens per second", f"{metrics['tokens_per_second']:,.0f}"),
        ("parameters", f"{metrics['parameters']:,} ({metrics['precision']})"),
        ("run folder", relative_path(run_dir)),
    ]
    print_key_values("Training", rows)


def _print_next_commands(run_dir: Path) -> None:
    from hydra.core.hydra_config import HydraConfig

    from lstm_lm.cli.console import print_commands, relative_path
    from lstm_lm.config.overrides import as_override

    checkpoints = run_dir / "checkpoints"
    best = as_override("checkpoint", relative_path(checkpoints / "best.ckpt"))
    resume = as_override("resume", relative_path(checkpoints / "last.ckpt"))
    out = as_override("out", f"exports/{run_dir.name}")
    overrides = [line for line in HydraConfig.get().overrides.task if not line.startswith("resume=")]
    print_commands(
        [
            ("score the model on test", ["lstm-lm", "eval", best]),
            ("export a bundle for predict, generate and serve", ["lstm-lm", "export", best, out]),
            ("open the curves in TensorBoard", ["tensorboard", "--logdir", relative_path(run_dir)]),
            (
                "continue training; raise trainer.budget or trainer.max_epochs first",
                ["lstm-lm", "train", *overrides, resume],
            ),
        ]
    )
