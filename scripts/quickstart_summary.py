"""Prints the summary table of scripts/quickstart.sh from the files that its commands wrote."""

import json
import sys
from pathlib import Path
from typing import Any

from bench_keyboard import PROMPTS, read_prompts, score_prompts
from rich.console import Console
from rich.table import Table

from lstm_lm import load_model


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def summary(run: Path, seconds: int) -> Table:
    """Build the results table of a quickstart run.

    Args:
        run: Folder with train/, eval/ and bundle/.
        seconds: Total time of all commands.
    """
    trained = read_json(run / "train" / "metrics.json")
    scored = read_json(run / "eval" / "metrics.json")
    bundle_bytes = sum(file.stat().st_size for file in (run / "bundle").rglob("*") if file.is_file())
    table = Table(title="Quickstart", show_header=False)
    table.add_row("valid perplexity", f"{trained['valid']['perplexity']:.1f}")
    table.add_row("test perplexity", f"{scored['perplexity']:.1f} over {scored['tokens']:,} tokens")
    table.add_row("test top-1 / top-3 / top-5", " / ".join(f"{scored[key]:.1%}" for key in ("top1", "top3", "top5")))
    table.add_row("parameters", f"{trained['parameters']:,}")
    table.add_row("training", f"{trained['wall_seconds']:.0f} s, {trained['tokens_per_second']:,.0f} tokens/s")
    table.add_row("bundle", f"{bundle_bytes / 1e6:.1f} MB")
    table.add_row("everyday prompts, top-3", f"{_top3(run / 'bundle')}; of the shipped model {_top3()}")
    table.add_row("total", f"{seconds} s")
    return table


def _top3(*bundle: Path) -> str:
    """How often the next word of everyday prompts is suggested; by default by the model that ships with lstm-lm."""
    return f"{score_prompts(load_model(*bundle).engine(), read_prompts(PROMPTS)).words.top3:.1%}"


def main() -> None:
    """Print the table and the next commands."""
    run = Path(sys.argv[1])
    console = Console(soft_wrap=True, highlight=False)
    console.print()
    console.print(summary(run, int(sys.argv[2])))
    console.print("Start the service, then open http://127.0.0.1:8000")
    console.print(f"  .venv/bin/lstm-lm serve --model {run / 'bundle'} --port 8000", markup=False)
    console.print("See the training curves")
    console.print(f"  .venv/bin/tensorboard --logdir {run / 'train' / 'tensorboard'}", markup=False)


if __name__ == "__main__":
    main()
