"""Benchmark the training step of lstm_lm against a textbook implementation: tokens per second, side by side.

The textbook implementation ("plain") is that of most tutorials: ``nn.LSTM``, logits of the whole window,
``F.cross_entropy``, float32, default process settings. Ours is the step of ``lstm-lm train`` with each of its losses,
with the same sizes, batch, dropout and optimizer, except that the sampled softmax uses ``optimizer=row_adamw``, which
is made for its sparse gradient. The last row is the network and batch of ``experiment=wikitext2_60min``. The
measurements are interleaved, each in its own process, so that other load on the machine affects all of them; the table
shows medians.

The columns "of fp32" and "of bf16" give the throughput of the sampled-softmax step as a share of a large matrix product
(2048 x 512 by 512 x 4096), measured in the same process in float32 and bfloat16; "used" is the format of the step. The
operations of a step are counted as in Kaplan et al. 2020: 6 per token and weight, 2 forward and 4 backward (half for
the gradient of the input, half for that of the weight)::

    6 (sum over layers of 4 H (E + H) + N H_last)

where N is the number of output rows per token: V for the full softmax; frequent + sampled + 1 for the sampled softmax;
head + clusters + sum over clusters of (fraction of the tokens x size) for the adaptive softmax. Embedding lookups
multiply nothing, so tied weights count once, as the output layer; biases, gates, dropout and optimizer are not counted.

``--cells`` compares the recurrent cells instead, each with the sampled softmax.

    python scripts/bench_training.py [--cells] [--repeats 3] [--steps 10] [--load]
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from timeit import timeit
from typing import Any

VOCAB_SIZE = 33_278
RECIPE = "wikitext2_60min"
SAMPLED = "sampled_softmax"
SIZES = {
    "2 x 200": ["model=small"],
    "2 x 650": ["model=small", "model.embedding_dim=650", "model.hidden_dims=[650,650]"],
    RECIPE: [f"experiment={RECIPE}"],
}
# each loss with its optimizer
LOSSES = {
    "full_softmax": ["loss=full_softmax"],
    "adaptive_softmax": ["loss=adaptive_softmax"],
    SAMPLED: ["loss=sampled_softmax", "optimizer=row_adamw"],
}
CELLS = {f"cell={name}": [*LOSSES[SAMPLED], f"cell={name}"] for name in ("lstm", "cifg", "mogrifier")}
VARIANTS = LOSSES | CELLS


def measure(variant: str, size: str, steps: int) -> dict[str, Any]:
    """Measure in this process: ``speed``, its shares of a matrix product, ``precision`` and ``batch``."""
    import torch
    from lstm_lm.training.step_timing import choose_way

    from lstm_lm.config.validation import check
    from lstm_lm.data.streams import Window

    config: Any = check("train", SIZES[size] + VARIANTS.get(variant, [])).config
    torch.manual_seed(0)
    # Zipf-like word counts
    counts = [2_000_000 // (rank + 2) + 1 for rank in range(VOCAB_SIZE)]
    batch_size, length = config.batching.batch_size, config.batching.bptt_length
    words = torch.multinomial(torch.tensor(counts).float(), batch_size * (length + 1), True).view(batch_size, -1)
    window = Window(words[:, :-1], words[:, 1:], None, starts_stream=False)
    precision = "fp32" if variant == "plain" else choose_precision("cpu")
    step = plain_step(config, window) if variant == "plain" else our_step(config, window, counts, precision)
    speed = batch_size * length / seconds(step, steps)
    result: dict[str, Any] = {"speed": speed, "precision": precision, "batch": f"{batch_size} x {length}"}
    if variant in CELLS:
        return result
    operations = 6 * speed * num_multiplied_weights(config, variant, counts)
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        left, right = torch.randn(2048, 512).to(dtype), torch.randn(512, 4096).to(dtype)
        result[name] = operations / (2 * 2048 * 512 * 4096 / seconds(lambda a=left, b=right: a @ b, 10))
    return result


def plain_step(config: Any, window: Any) -> Callable[[], None]:
    """A training step as in most tutorials."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    units = config.model.embedding_dim
    embedding, dropout = nn.Embedding(VOCAB_SIZE, units), nn.Dropout(config.model.output_dropout)
    lstm = nn.LSTM(units, units, num_layers=2, dropout=config.model.hidden_dropout, batch_first=True)
    output = nn.Linear(units, VOCAB_SIZE)
    output.weight = embedding.weight
    network = nn.ModuleList([embedding, lstm, output])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    state = [torch.zeros(2, len(window.input_ids), units)] * 2

    def step() -> None:
        features, next_state = lstm(dropout(embedding(window.input_ids)), tuple(state))
        state[:] = (tensor.detach() for tensor in next_state)
        logits = output(dropout(features))
        loss = F.cross_entropy(logits.view(-1, VOCAB_SIZE), window.target_ids.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.25)
        optimizer.step()

    return step


def our_step(config: Any, window: Any, counts: list[int], precision: str) -> Callable[[], None]:
    """A step of ``lstm-lm train``."""
    import torch

    from lstm_lm.data.encoding import EncodedCorpus
    from lstm_lm.text.vocabulary import Vocabulary
    from lstm_lm.training.module import LanguageModelModule
    from lstm_lm.training.optimizers import build_optimizer

    words = ("<unk>", "<eos>", *(f"word{rank}" for rank in range(2, VOCAB_SIZE)))
    corpus = EncodedCorpus(Vocabulary(words, counts), {}, "whitespace", config.data, {})
    module = LanguageModelModule.from_config(config, corpus, fraction=lambda _: 0.5).train()
    module.loss.sparse_gradient = config.optimizer["_target_"].endswith("RowAdamW")
    optimizer = build_optimizer(config.optimizer, module.model)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step(window, 0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        module.configure_gradient_clipping(optimizer, config.trainer.gradient_clip_val)
        optimizer.step()

    return step


def num_multiplied_weights(config: Any, variant: str, counts: list[int]) -> float:
    """Number of weights multiplied per token, by the formula above."""
    widths = [config.model.embedding_dim, *config.model.hidden_dims]
    layers = sum(4 * hidden * (inputs + hidden) for inputs, hidden in pairwise(widths))
    bounds = config.model.cluster_bounds(VOCAB_SIZE)  # [V] without clusters
    output_rows: float = bounds[0] + len(bounds) - 1
    output_rows += sum(sum(counts[start:end]) / sum(counts) * (end - start) for start, end in pairwise(bounds))
    if variant == SAMPLED:
        output_rows = config.loss.num_frequent + config.loss.num_sampled + 1
    return float(layers + output_rows * widths[-1])


def seconds(function: Callable[[], Any], times: int) -> float:
    """Median seconds of ``function``, after two warm-up calls."""
    return median([timeit(function, number=1) for _ in range(times + 2)][2:])


def run_child(variant: str, size: str, steps: int) -> dict[str, Any]:
    """Measure in a child process; ours has the environment that ``lstm-lm train`` sets up."""
    child = [sys.executable, __file__, "--child", variant, "--size", size, "--steps", str(steps)]
    return dict(json.loads(subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True).stdout))


def main() -> None:
    """Print the table, or one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="processes per implementation and size")
    parser.add_argument("--steps", type=int, default=10, help="timed steps per process")
    parser.add_argument("--load", action="store_true", help="keep one core busy with another process")
    parser.add_argument("--cells", action="store_true", help="compare the cells instead of the losses")
    parser.add_argument("--child", choices=("plain", *VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=tuple(SIZES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        if arguments.child != "plain":
            from lstm_lm.cli.environment import configure_process

            configure_process()
        print(json.dumps(measure(arguments.child, arguments.size, arguments.steps)))
        return

    from rich.console import Console
    from rich.table import Table

    variants = {size: ("plain", *LOSSES) if size != RECIPE else tuple(LOSSES)[1:] for size in SIZES}
    if arguments.cells:
        variants = dict.fromkeys(SIZES, tuple(CELLS))
    plan = [(variant, size) for _ in range(arguments.repeats) for size in SIZES for variant in variants[size]]
    results: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in plan}
    load_process = subprocess.Popen([sys.executable, "-c", "while True: pass" if arguments.load else ""])
    try:
        for variant, size in plan:
            results[variant, size].append(run_child(variant, size, arguments.steps))
    finally:
        load_process.kill()
    load = ", one busy with another process" if arguments.load else ""
    table = Table(title=f"Training step in tokens per second, vocabulary {VOCAB_SIZE:,}, {os.cpu_count()} cores{load}")
    table.add_column("sizes, batch")
    if arguments.cells:
        for column in (*CELLS, "precision"):
            table.add_column(column, justify="right")
        for size in SIZES:
            ones = [results[cell, size][0] for cell in CELLS]
            speeds = [f"{median(one['speed'] for one in results[cell, size]):,.0f}" for cell in CELLS]
            table.add_row(f"{size}, {ones[0]['batch']}", *speeds, ones[0]["precision"])
        Console(width=110).print(table)
        return
    for column in ("plain", "full", "adaptive", "sampled", "sampled : plain", "of fp32", "of bf16", "used"):
        table.add_column(column, justify="right")
    for size in SIZES:
        speeds = {name: median(one["speed"] for one in results[name, size]) for name in variants[size]}
        shares = [f"{median(one[name] for one in results[SAMPLED, size]):.0%}" for name in ("fp32", "bf16")]
        columns = [f"{speeds[name]:,.0f}" if name in speeds else "-" for name in ("plain", *LOSSES)]
        ratio = f"{speeds[SAMPLED] / speeds['plain']:.1f}" if "plain" in speeds else "-"
        one = results[SAMPLED, size][0]
        table.add_row(f"{size}, {one['batch']}", *columns, ratio, *shares, one["precision"])
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
