"""Tokens a second of a training step: our path against the plain way, in one run, side by side.

The plain way is what most tutorials do: ``nn.LSTM``, logits of the whole window, ``F.cross_entropy``, float32, and the
process as it is started. Ours is the step of ``lstm-lm train`` with each of its losses: same sizes, same batch, same
dropout, and the same optimizer, except that the sampled softmax goes with ``optimizer=row_adamw``, which is made for a
sparse gradient. The last row has the network and the batch of ``experiment=wikitext2_60min``. All take turns, each time
in a process of its own, so that whatever else the machine does meets all; the table shows medians.

The shares say how near the step with the sampled softmax comes to a large matrix product (2048 x 512 by 512 x 4096),
measured in the same process in float32 and in bfloat16; "used" is the format that the step ran in. The step's work is
counted by formula, as in Kaplan et al. 2020: 6 operations a token for each weight that is multiplied by, 2 forward and
4 backward (half for the gradient of the input, half for that of the weight)::

    6 (sum over layers of 4 H (E + H) + N H_last)

with N the words of the output layer that a token meets: V of the full softmax; frequent + drawn + 1 of the sampled one;
head + clusters + sum over clusters of share of the tokens x size of the split one. Looking words up multiplies by
nothing, so that tied weights count once, as output layer; biases, gates, dropout and optimizer are left out.

    python scripts/bench_training.py [--rounds 3] [--steps 10] [--load]
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
HOUR = "wikitext2_60min"
SAMPLED = "sampled_softmax"
SIZES = {
    "2 x 200": ["model=small"],
    "2 x 650": ["model=small", "model.embedding_dim=650", "model.hidden_dims=[650,650]"],
    HOUR: [f"experiment={HOUR}"],
}
# as a recipe would set them
LOSSES = {
    "full_softmax": ["loss=full_softmax"],
    "adaptive_softmax": ["loss=adaptive_softmax"],
    SAMPLED: ["loss=sampled_softmax", "optimizer=row_adamw"],
}


def measure(way: str, size: str, steps: int) -> dict[str, Any]:
    """``speed`` of training steps in this process, its share of a matrix product's, and what was run."""
    import torch

    from lstm_lm.config.validation import check
    from lstm_lm.data.streams import Window
    from lstm_lm.training.precision import choose_precision

    config: Any = check("train", SIZES[size] + LOSSES.get(way, [])).config
    torch.manual_seed(0)
    # counts that fall as those of words do
    counts = [2_000_000 // (rank + 2) + 1 for rank in range(VOCAB_SIZE)]
    batch_size, length = config.batching.batch_size, config.batching.bptt_length
    words = torch.multinomial(torch.tensor(counts).float(), batch_size * (length + 1), True).view(batch_size, -1)
    window = Window(words[:, :-1], words[:, 1:], None, starts_stream=False)
    precision = "fp32" if way == "plain" else choose_precision("cpu")
    step = plain_step(config, window) if way == "plain" else our_step(config, window, counts, precision)
    speed = batch_size * length / seconds(step, steps)
    work = 6 * speed * weights_used(config, way, counts)
    result: dict[str, Any] = {"speed": speed, "precision": precision, "batch": f"{batch_size} x {length}"}
    for name, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        left, right = torch.randn(2048, 512).to(dtype), torch.randn(512, 4096).to(dtype)
        result[name] = work / (2 * 2048 * 512 * 4096 / seconds(lambda a=left, b=right: a @ b, 10))
    return result


def plain_step(config: Any, window: Any) -> Callable[[], None]:
    """A step as it is written without further thought."""
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
        features, after = lstm(dropout(embedding(window.input_ids)), tuple(state))
        state[:] = (tensor.detach() for tensor in after)
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

    from lstm_lm.nn.model import LSTMLanguageModel
    from lstm_lm.text.vocabulary import Vocabulary
    from lstm_lm.training.module import LanguageModelModule
    from lstm_lm.training.optimizers import build_optimizer

    words = ("<unk>", "<eos>", *(f"word{rank}" for rank in range(2, VOCAB_SIZE)))
    module = LanguageModelModule(
        LSTMLanguageModel(config.model, VOCAB_SIZE),
        loss=config.loss,
        optimizer=config.optimizer,
        schedule=config.schedule,
        vocabulary=Vocabulary(words, counts),
        bptt_length=config.batching.bptt_length,
        seed=1,
        fraction=lambda _: 0.5,
        record={},
        sparse_gradient=config.optimizer.name == "row_adamw",
    ).train()
    optimizer = build_optimizer(config.optimizer, module.model)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step(window, 0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        module.configure_gradient_clipping(optimizer, config.trainer.gradient_clip_val)
        optimizer.step()

    return step


def weights_used(config: Any, way: str, counts: list[int]) -> float:
    """Weights that a token is multiplied by: see the formula above."""
    widths = [config.model.embedding_dim, *config.model.hidden_dims]
    layers = sum(4 * hidden * (below + hidden) for below, hidden in pairwise(widths))
    bounds = config.model.cluster_bounds(VOCAB_SIZE)  # without clusters, V alone
    met: float = bounds[0] + len(bounds) - 1
    met += sum(sum(counts[start:end]) / sum(counts) * (end - start) for start, end in pairwise(bounds))
    if way == SAMPLED:
        met = config.loss.num_frequent + config.loss.num_sampled + 1
    return float(layers + met * widths[-1])


def seconds(work: Callable[[], Any], times: int) -> float:
    """Median time of ``work``, after two runs that are not counted."""
    return median([timeit(work, number=1) for _ in range(times + 2)][2:])


def run_child(way: str, size: str, steps: int) -> dict[str, Any]:
    """Measure in a process of its own, ours under the environment that ``lstm-lm train`` makes for itself."""
    child = [sys.executable, __file__, "--child", way, "--size", size, "--steps", str(steps)]
    return dict(json.loads(subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True).stdout))


def main() -> None:
    """Print the table, or one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way and size")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each process")
    parser.add_argument("--load", action="store_true", help="keep one core busy with something else")
    parser.add_argument("--child", choices=("plain", *LOSSES), help=argparse.SUPPRESS)
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

    ways = {size: ("plain", *LOSSES) if size != HOUR else tuple(LOSSES)[1:] for size in SIZES}
    plan = [(way, size) for _ in range(arguments.rounds) for size in SIZES for way in ways[size]]
    results: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in plan}
    rival = subprocess.Popen([sys.executable, "-c", "while True: pass" if arguments.load else ""])
    try:
        for way, size in plan:
            results[way, size].append(run_child(way, size, arguments.steps))
    finally:
        rival.kill()
    load = ", one busy with something else" if arguments.load else ""
    table = Table(title=f"Tokens a second of a step, vocabulary {VOCAB_SIZE:,}, {os.cpu_count()} cores{load}")
    table.add_column("sizes, batch")
    for column in ("plain", "full", "split", "sampled", "sampled : plain", "of fp32", "of bf16", "used"):
        table.add_column(column, justify="right")
    for size in SIZES:
        speeds = {way: median(one["speed"] for one in results[way, size]) for way in ways[size]}
        shares = [f"{median(one[name] for one in results[SAMPLED, size]):.0%}" for name in ("fp32", "bf16")]
        shown = [f"{speeds[way]:,.0f}" if way in speeds else "-" for way in ("plain", *LOSSES)]
        ratio = f"{speeds[SAMPLED] / speeds['plain']:.1f}" if "plain" in speeds else "-"
        one = results[SAMPLED, size][0]
        table.add_row(f"{size}, {one['batch']}", *shown, ratio, *shares, one["precision"])
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
