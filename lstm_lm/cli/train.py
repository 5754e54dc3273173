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
    from lstm_lm.cli.console import first_process
    from lstm_lm.training.run import train

    metrics = train(config, run_dir)
    if first_process():
        _print_end(metrics, run_dir)


def _print_end(metrics: dict[str, Any], run_dir: Path) -> None:
    from lstm_lm.cli.console import near_path, number, percent, print_commands, print_pairs
    from lstm_lm.config.overrides import as_override

    valid = metrics["valid"]
    pairs = [
        ("valid perplexity", number(valid.get("perplexity"))),
        ("valid loss", f"{number(valid.get('loss'), 4)} nats a token"),
        ("top-1, top-5", f"{percent(valid.get('top1'))}, {percent(valid.get('top5'))}"),
        ("epochs, steps", f"{number(metrics['epochs'])}, {metrics['steps']:,}"),
        ("wall time", f"{number(metrics['wall_seconds'] / 60, 1)} min"),
        ("tokens a second", f"{metrics['tokens_per_second']:,.0f}"),
        ("parameters", f"{metrics['parameters']:,} ({metrics['precision']})"),
        ("ended by", str(metrics["stopped_by"])),
        ("run folder", near_path(run_dir)),
    ]
    if "overfit" in metrics:
        overfit = metrics["overfit"]
        first, last = overfit["first_loss"], overfit["last_loss"]
        pairs.insert(
            0, ("overfit one batch", f"loss {number(first, 4)} -> {number(last, 4)} ({percent(last / first)})")
        )
    print_pairs("Training", pairs)
    best = near_path(run_dir / "checkpoints" / "best.ckpt")
    last_checkpoint = near_path(run_dir / "checkpoints" / "last.ckpt")
    print_commands(
        [
            ("score it on test", ["lstm-lm", "eval", as_override("checkpoint", best)]),
            (
                "make a bundle to predict with and to serve",
                ["lstm-lm", "export", as_override("checkpoint", best), as_override("out", f"exports/{run_dir.name}")],
            ),
            ("see the curves", ["tensorboard", "--logdir", near_path(run_dir)]),
            ("go on training", ["lstm-lm", "train", as_override("resume", last_checkpoint), "trainer.max_epochs=N"]),
        ]
    )
