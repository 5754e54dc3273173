"""Ablate a training recipe: train every variant for the same time or on the same number of tokens, one after the other.

Each variant is a run of ``lstm-lm train`` with one change. Finished variants are not run again, so an interrupted
ablation continues where it stopped. Overrides after ``--`` apply to every run::

    python scripts/ablate.py --budget 4m --out outputs/ablation -- data=text_files data.dir=FOLDER
    python scripts/ablate.py --steps 400 --out outputs/ablation -- data=text_files data.dir=FOLDER trainer=gpu

With equal time, a change that slows down a step must pay for itself. A few minutes are half an epoch of WikiText-2,
too little to show the benefit of regularization, which needs many epochs; a smaller corpus gives more epochs in the
same time.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from lstm_lm.training.budget import DROPOUTS

VALID_WINDOWS = 80  # 56,000 tokens, a quarter of WikiText-2's valid split: most of the time goes to training
BATCH, WINDOW = 64, 35  # of the recipe
# each changes one setting of experiment=budget, before it is scaled; precision=auto equals either fp32 or bf16
VARIANTS = {
    "the recipe": [],
    "full softmax": ["loss=full_softmax"],
    "adaptive softmax": ["loss=adaptive_softmax"],
    "bf16": ["trainer.precision=bf16"],
    "fp32": ["trainer.precision=fp32"],
    "1024 negatives": ["loss.num_sampled=1024"],
    "3096 negatives": ["loss.num_sampled=3096"],
    "adamw": ["optimizer=adamw"],
    "row_adamw": ["optimizer=row_adamw"],
    "row_beta2 0.99": ["optimizer=row_adamw", "optimizer.row_beta2=0.99"],
    "learning rate 6e-3": ["optimizer.lr=6e-3"],
    "learning rate 8e-3": ["optimizer.lr=8e-3"],
    "weight decay 0.01": ["optimizer.weight_decay=0.01"],
    "weight decay 0.3": ["optimizer.weight_decay=0.3"],
    "batch 32": ["batching.batch_size=32"],
    "batch 128": ["batching.batch_size=128"],
    "windows of 70": ["batching.bptt_length=70"],
    "2 x 200 units": ["model.embedding_dim=200", "model.hidden_dims=[200,200]"],
    "400 + 400 units": ["model.hidden_dims=[400,400]"],
    "1150 + 400 units": ["model.hidden_dims=[1150,400]"],
    "no word vectors": ["embedding_init=random"],
    "no random offset": ["batching.random_offset=false"],
    "ema averaging": ["averaging=ema"],
    "polyak averaging": ["averaging=polyak"],
    "no AR and TAR": ["loss.activation_reg=0", "loss.temporal_activation_reg=0"],
    "no weight dropout": ["model.weight_dropout=0"],
    "no dropout": [f"model.{name}=0" for name in DROPOUTS],
    # the dropouts are multiplied by sqrt(epochs / reference_epochs)
    "half the dropout": ["trainer.reference_epochs=32"],
    "dropout x 1.5": ["trainer.reference_epochs=3.556"],
}


def run(name: str, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Train one variant, unless it is finished, and read its metrics.

    Raises:
        SystemExit: If the folder holds a run with other settings, or the command failed; it printed its own message.
    """
    metrics_file, overrides_file = folder / "metrics.json", folder / ".hydra" / "overrides.yaml"
    overrides = [*overrides, "resume=auto"]  # an interrupted variant continues
    if overrides_file.is_file() and list(OmegaConf.load(overrides_file)) != overrides:
        raise SystemExit(f"error: {folder} holds a run with other settings; choose another folder with --out")
    command = [sys.executable, "-m", "lstm_lm", "train", *overrides, f"hydra.run.dir={folder}"]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"error: {name}: {' '.join(command)} failed")
    metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
    assert isinstance(metrics, dict)
    return metrics


def length_overrides(budget: str, steps: int | None, variant: list[str]) -> list[str]:
    """End a variant after ``budget``, or after as many tokens as the recipe has in ``steps``."""
    valid_windows = VALID_WINDOWS
    if steps is None:
        length = [f"trainer.budget={budget}"]
    else:
        settings = dict(override.split("=", 1) for override in variant)
        batch = int(settings.get("batching.batch_size", BATCH))
        window = int(settings.get("batching.bptt_length", WINDOW))
        length = ["trainer.budget=null", f"trainer.max_steps={steps * BATCH * WINDOW // (batch * window)}"]
        valid_windows = VALID_WINDOWS * WINDOW // window
    return [*length, f"trainer.limit_val_batches={valid_windows}"]


def table(results: dict[str, dict[str, Any]], length: str) -> Table:
    """Build the result table, one row per variant in the order of the runs."""
    rows = Table(title=length)
    for column in ("variant", "valid perplexity", "top-1", "top-5", "epochs", "tokens/s"):
        rows.add_column(column, justify="left" if column == "variant" else "right")
    for name, metrics in results.items():
        valid = metrics["valid"]
        rows.add_row(
            name,
            f"{valid['perplexity']:.1f}",
            f"{valid['top1']:.1%}",
            f"{valid['top5']:.1%}",
            f"{metrics['epochs']:.2f}",
            f"{metrics['tokens_per_second']:,.0f}",
        )
    return rows


def main() -> None:
    """Run the variants and print the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="4m", help="time of each run (default: 4m)")
    parser.add_argument("--steps", type=int, help="instead, steps of the recipe; other batches take as many tokens")
    parser.add_argument("--out", type=Path, default=Path("outputs/ablation"), help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="VARIANT", help="run only these variants")
    parser.add_argument("overrides", nargs="*", help="overrides for every run, after --")
    arguments = parser.parse_args()
    length = f"{arguments.budget} each, training and validations"
    if arguments.steps is not None:
        length = f"the tokens of {arguments.steps:,} steps each"
    results: dict[str, dict[str, Any]] = {}
    for name in arguments.only or VARIANTS:
        folder = arguments.out / name.replace(" ", "_")
        ends = length_overrides(arguments.budget, arguments.steps, VARIANTS[name])
        overrides = ["experiment=budget", "callbacks=quiet", *ends, *arguments.overrides, *VARIANTS[name]]
        results[name] = run(name, overrides, folder)
        Console().print(table(results, length))


if __name__ == "__main__":
    main()
