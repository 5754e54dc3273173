"""``lstm-lm train``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_lm.cli.command_help import command_help, wants_help

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lightning as L

    from lstm_lm.training.config import TrainConfig


def main(argv: list[str]) -> None:
    """Train one model, or several with ``-m``."""
    if wants_help(argv):
        print(command_help("train"))
        return
    from lstm_lm.cli.hydra_run import run
    from lstm_lm.cli.resumed_settings import with_resumed_settings
    from lstm_lm.training.run_folder import open_run_folder

    run("train", with_resumed_settings(argv), job, open_run_folder)


def job(config: TrainConfig, run_dir: Path) -> float | None:
    """Train one model, then print a summary and the commands to use next.

    Returns:
        The perplexity of the best validation, for a sweeper.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lstm_lm.training.ranks import is_rank_zero

    metrics = train_and_report(config, run_dir)
    perplexity: float | None = metrics.get("valid", {}).get("perplexity")
    if not is_rank_zero():
        return perplexity
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _print_sweep_job(metrics, run_dir)
    else:
        _print_summary(metrics, run_dir, config.batching.eval_batch_size)
        if "valid" in metrics:
            _print_next_commands(config, metrics, run_dir)
    return perplexity


def train_and_report(config: TrainConfig, run_dir: Path, callbacks: Sequence[L.Callback] = ()) -> dict[str, Any]:
    """Encode the corpus with a progress bar, train, and write the report.

    Args:
        config: The config of the run.
        run_dir: Its folder.
        callbacks: Callbacks besides those of ``config``.

    Returns:
        The content of ``metrics.json``.
    """
    from lstm_lm.cli.encoding_bar import encoding_bar
    from lstm_lm.data.encoding import load_corpus
    from lstm_lm.training.ranks import is_rank_zero

    # before the import of torch and Lightning, so that a corpus that cannot be read is reported at once
    with encoding_bar() if is_rank_zero() else nullcontext() as progress:
        corpus = load_corpus(config.data, progress)
    from lstm_lm.report.page import write_run_report
    from lstm_lm.training.run import train

    metrics = train(config, run_dir, corpus, config.name or _name(), callbacks)
    if is_rank_zero():
        write_run_report(run_dir, corpus.vocabulary.words)
    return metrics


def _name() -> str:
    """The name of the run in the loggers."""
    from hydra.core.hydra_config import HydraConfig

    from lstm_lm.report.runs import run_name

    return run_name(HydraConfig.get().overrides.task)


def _print_sweep_job(metrics: dict[str, Any], run_dir: Path) -> None:
    """Print one line; the sweep prints a table of all jobs at the end."""
    from lstm_lm.cli.console import duration, number

    perplexity = number(metrics.get("valid", {}).get("perplexity"))
    print(f"job {run_dir.name}: valid perplexity {perplexity} after {duration(metrics['wall_seconds'])}")


def _print_summary(metrics: dict[str, Any], run_dir: Path, num_streams: int) -> None:
    from lstm_lm.cli.console import count, duration, number, percent, print_key_values, relative_path
    from lstm_lm.report.page import REPORT
    from lstm_lm.saved_model import InitFrom

    rows = []
    if "overfit" in metrics:
        first, last = metrics["overfit"]["first_loss"], metrics["overfit"]["last_loss"]
        rows.append(("first, last loss", f"{number(first, 4)}, {number(last, 4)} ({percent(last / first)})"))
    if "valid" in metrics:
        valid = metrics["valid"]
        sample = "" if valid.get("exact", True) else f"{valid['tokens']:,} tokens, not all of valid; "
        how = f"{sample}read as {count(num_streams, 'stream')}"
        rows += [
            ("valid perplexity", f"{number(valid.get('perplexity'))} ({how}; eval reads 1)"),
            ("valid loss", f"{number(valid.get('loss'), 4)} nats per token"),
            ("valid top-1, top-5", f"{percent(valid.get('top1'))}, {percent(valid.get('top5'))}"),
            ("stopped by", str(metrics["stopped_by"])),
        ]
    if "init_from" in metrics:
        rows.append(("initial weights", InitFrom(**metrics["init_from"]).describe()))
    rows += [
        ("epochs, steps", f"{number(metrics['epochs'])}, {metrics['steps']:,}"),
        ("wall time", duration(metrics["wall_seconds"])),
        ("tokens per second", f"{metrics['tokens_per_second']:,.0f}"),
        ("parameters", f"{metrics['parameters']:,} ({metrics['precision']})"),
        ("run folder", relative_path(run_dir)),
        ("report", relative_path(run_dir / REPORT)),
    ]
    print_key_values("Training", rows)


def _print_next_commands(config: TrainConfig, metrics: dict[str, Any], run_dir: Path) -> None:
    from hydra.core.hydra_config import HydraConfig

    from lstm_lm.checkpoint import BEST, CHECKPOINTS
    from lstm_lm.cli.console import print_commands, relative_path
    from lstm_lm.config.overrides import as_override

    best = as_override("checkpoint", relative_path(run_dir / CHECKPOINTS / BEST))
    out = as_override("out", f"exports/{run_dir.name}")
    commands = [
        ("score the model on test", ["lstm-lm", "eval", best]),
        ("export a bundle for predict, generate and serve", ["lstm-lm", "export", best, out]),
    ]
    if (run_dir / "tensorboard").is_dir():
        commands.append(("open the curves in TensorBoard", ["tensorboard", "--logdir", relative_path(run_dir)]))
    if longer := _longer(config, metrics):
        sources = HydraConfig.get().runtime.config_sources
        folders = [relative_path(Path(source.path)) for source in sources if source.provider == "command-line"]
        config_dir = [word for folder in folders for word in ("--config-dir", folder)]
        resume = as_override("resume", relative_path(run_dir))
        commands.append(("train this model further", ["lstm-lm", "train", *config_dir, resume, longer]))
    print_commands(commands)


def _longer(config: TrainConfig, metrics: dict[str, Any]) -> str | None:
    """The limit that ended a run, doubled; ``None`` after early stopping."""
    seconds = config.trainer.budget_seconds
    match metrics["stopped_by"]:
        case "budget" if seconds is not None:
            return f"trainer.budget={2 * seconds:g}s"
        case "max_steps":
            return f"trainer.max_steps={2 * config.trainer.max_steps}"
        case "max_epochs":
            return f"trainer.max_epochs={2 * config.trainer.epoch_limit}"
    return None
