"""What each part of a recipe is worth: the same budget of time for every variant, one after the other.

Every row is a run of ``lstm-lm train`` with one thing changed. A variant that was run before is not run again, so an
interrupted ablation goes on where it was; what follows ``--`` is handed to every run::

    python scripts/ablate.py --budget 4m --out outputs/ablation -- data=text_files data.dir=FOLDER

Equal time means that whatever makes a step slower has to pay for itself. A few minutes are half an epoch of
WikiText-2: too little for regularisation, which is there for many epochs, to show what it is worth. A smaller corpus
gives more of them in the same time; what a weight decay does in all goes with the number of steps, so that a run of a
twentieth of the hour needs twenty times as much to do the same.
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

VALID_WINDOWS = 80  # 56,000 tokens, a quarter of WikiText-2's: the time is for training
# each changes one thing of experiment=wikitext2_60min; one of fp32 and bf16 is what it takes by itself
VARIANTS = {
    "the recipe": [],
    "full softmax": ["loss=full_softmax"],
    "split softmax": ["loss=adaptive_softmax"],
    "bf16": ["trainer.precision=bf16"],
    "fp32": ["trainer.precision=fp32"],
    "1024 drawn words": ["loss.num_sampled=1024"],
    "3096 drawn words": ["loss.num_sampled=3096"],
    "AdamW of every row": ["optimizer=adamw"],
    "AdamW by rows": ["optimizer=row_adamw"],
    "rows with a short memory": ["optimizer=row_adamw", "optimizer.row_beta2=0.99"],
    "learning rate 6e-3": ["optimizer.lr=6e-3"],
    "learning rate 8e-3": ["optimizer.lr=8e-3"],
    "weight decay 0.01": ["optimizer.weight_decay=0.01"],
    "weight decay 0.1": ["optimizer.weight_decay=0.1"],
    "weight decay 3": ["optimizer.weight_decay=3"],
    "batch 32": ["batching.batch_size=32"],
    "batch 128": ["batching.batch_size=128"],
    "windows of 70": ["batching.bptt_length=70"],
    "2 x 200 units": ["model.embedding_dim=200", "model.hidden_dims=[200,200]"],
    "400 + 400 units": ["model.hidden_dims=[400,400]"],
    "1150 + 400 units": ["model.hidden_dims=[1150,400]"],
    "no word vectors": ["embedding_init=random"],
    "no rotation": ["batching.random_offset=false"],
    "moving average": ["averaging=ema"],
    "average of the tail": ["averaging=polyak"],
    "no AR and TAR": ["loss.activation_reg=0", "loss.temporal_activation_reg=0"],
    "no weight drop": ["model.weight_dropout=0"],
    "no dropout at all": [f"model.{name}=0" for name in DROPOUTS],
    # the factor goes with the root of the epochs
    "half the dropout": ["trainer.dropout_reference_epochs=32"],
    "dropout x 1.5": ["trainer.dropout_reference_epochs=3.556"],
}


def run(name: str, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Train one variant, or read what it gave before.

    Raises:
        SystemExit: If the folder holds a run with other settings, or the command failed; its message stands above.
    """
    metrics, recorded = folder / "metrics.json", folder / ".hydra" / "overrides.yaml"
    if metrics.is_file() and list(OmegaConf.load(recorded)) != overrides:
        raise SystemExit(f"error: {folder} holds a run with other settings; choose another folder with --out")
    if not metrics.is_file():
        command = [sys.executable, "-m", "lstm_lm", "train", *overrides, f"hydra.run.dir={folder}"]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"error: {name}: {' '.join(command)} failed")
    figures = json.loads(metrics.read_text(encoding="utf-8"))
    assert isinstance(figures, dict)
    return figures


def table(results: dict[str, dict[str, Any]], budget: str) -> Table:
    """A row for each variant, in the order in which they were run."""
    result = Table(title=f"Equal time: {budget} each, training and validations")
    for column in ("variant", "valid perplexity", "top-1", "top-5", "epochs", "tokens/s"):
        result.add_column(column, justify="left" if column == "variant" else "right")
    for name, figures in results.items():
        valid = figures["valid"]
        result.add_row(
            name,
            f"{valid['perplexity']:.1f}",
            f"{valid['top1']:.1%}",
            f"{valid['top5']:.1%}",
            f"{figures['epochs']:.2f}",
            f"{figures['tokens_per_second']:,.0f}",
        )
    return result


def main() -> None:
    """Run the variants and print the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="4m", help="time of each run (default: 4m)")
    parser.add_argument("--out", type=Path, default=Path("outputs/ablation"), help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="VARIANT", help="run these variants alone")
    parser.add_argument("overrides", nargs="*", help="for every run, after --")
    arguments = parser.parse_args()
    base = ["experiment=wikitext2_60min", f"trainer.budget={arguments.budget}", "callbacks=quiet"]
    base.append(f"trainer.limit_val_batches={VALID_WINDOWS}")
    results: dict[str, dict[str, Any]] = {}
    for name in arguments.only or VARIANTS:
        folder = arguments.out / name.replace(" ", "_")
        results[name] = run(name, [*base, *arguments.overrides, *VARIANTS[name]], folder)
        Console().print(table(results, arguments.budget))


if __name__ == "__main__":
    main()
