"""Benchmark the training step of lstm_lm: tokens per second in both formats, with one and with all threads.

The table gives the throughput of the sampled-softmax step and its share of two limits: a large matrix product
(2048 x 512 by 512 x 4096) in float32 and in bfloat16, with the same number of threads in the same process. The
operations of a step are counted as in Kaplan et al. 2020: 6 per token and weight, 2 forward and 4 backward (half for
the gradient of the input, half for that of the weight)::

    6 (sum over layers of 4 H (E + H) + N H_last)

where N is the number of output rows per token: V for the full softmax; frequent + sampled + 1 for the sampled softmax;
head + clusters + sum over clusters of (fraction of the tokens x size) for the adaptive softmax. Embedding lookups
multiply nothing, so tied weights count once, as the output layer; biases, gates, dropout and optimizer are not counted.

``--losses`` compares each loss with a textbook implementation instead ("plain"): ``nn.LSTM``, logits of the whole
window, ``F.cross_entropy``, float32, default process settings, with the same sizes, batch, dropout and optimizer; the
sampled softmax uses ``optimizer=row_adamw``, which is made for its sparse gradient. ``--cells`` compares the recurrent
cells. Both use the format and the threads that ``lstm-lm train`` would choose.

All measurements are interleaved, so that other load on the machine affects each of them; the tables show medians.
``--busy`` keeps one core busy with another process.

    python scripts/bench_training.py [--losses | --cells] [--repeats 3] [--steps 10] [--busy]
"""

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from timeit import timeit
from typing import Any

FORMATS = ("fp32", "bf16")
VOCAB_SIZE = 33_278
RECIPE = "wikitext2_60min"
SAMPLED = "sampled_softmax"
SIZES = {
    "2 x 200": ["model=small"],
    "2 x 650": ["model=small", "model.embedding_dim=650", "model.hidden_dims=[650,650]"],
    RECIPE: [f"experiment={RECIPE}", "embedding_init=random"],  # there is no text to compute word vectors from
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
    """Measure a step in this process.

    Returns:
        ``batch`` and ``operations`` per token; for each way, named "FORMAT THREADS", its ``speed`` in tokens per second
        and in ``limits`` the operations per second of a matrix product.
    """
    import torch

    from lstm_lm.config.validation import check
    from lstm_lm.data.streams import Window

    config: Any = check("train", SIZES[size] + VARIANTS.get(variant, [])).config
    torch.manual_seed(0)
    # Zipf-like word counts
    counts = [2_000_000 // (rank + 2) + 1 for rank in range(VOCAB_SIZE)]
    batch_size, length = config.batching.batch_size, config.batching.bptt_length
    words = torch.multinomial(torch.tensor(counts).float(), batch_size * (length + 1), True).view(batch_size, -1)
    window = Window(words[:, :-1], words[:, 1:], None, starts_stream=True)  # a state of bf16 does not fit fp32
    all_threads = torch.get_num_threads()
    if variant == "plain":
        step = plain_step(config, window)
        ways: dict[str, Callable[[], None]] = {f"fp32 {all_threads}": step}
    else:
        ways = our_steps(config, window, counts, sorted({1, all_threads}))
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(steps + 2):
        for way, run in ways.items():
            times[way].append(timeit(run, number=1))
    limits = {}
    for way in ways:
        dtype = torch.bfloat16 if way.startswith("bf16") else torch.float32
        torch.set_num_threads(int(way.split()[1]))
        left, right = torch.randn(2048, 512).to(dtype), torch.randn(512, 4096).to(dtype)
        seconds = median([timeit(lambda a=left, b=right: a @ b, number=1) for _ in range(12)][2:])
        limits[way] = 2 * 2048 * 512 * 4096 / seconds
    speed = {way: batch_size * length / median(taken[2:]) for way, taken in times.items()}  # two steps warm up
    return {
        "batch": f"{batch_size} x {length}",
        "speed": speed,
        "limits": limits,
        "operations": 6 * num_multiplied_weights(config, variant, counts),
    }


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


def our_steps(config: Any, window: Any, counts: list[int], threads: list[int]) -> dict[str, Callable[[], None]]:
    """A step of ``lstm-lm train`` in each format and with each number of threads, all of the same network."""
    import torch

    from lstm_lm.data.encoding import EncodedCorpus
    from lstm_lm.text.vocabulary import Vocabulary
    from lstm_lm.training.module import LanguageModelModule
    from lstm_lm.training.optimizers import build_optimizer, updates_rows
    from lstm_lm.training.step_timing import supports_bf16

    words = ("<unk>", "<eos>", *(f"word{rank}" for rank in range(2, VOCAB_SIZE)))
    corpus = EncodedCorpus(Vocabulary(words, counts), {}, "whitespace", config.data, {})
    module = LanguageModelModule.from_config(config, corpus, fraction=lambda _: 0.5).train()
    module.loss.sparse_gradient = updates_rows(config.optimizer)
    optimizer = build_optimizer(config.optimizer, module.model)

    def step(precision: str, number: int) -> None:
        torch.set_num_threads(number)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step(window, 0)["loss"]
        optimizer.zero_grad()
        loss.backward()
        module.configure_gradient_clipping(optimizer, config.trainer.gradient_clip_val)
        optimizer.step()

    return {
        f"{precision} {number}": functools.partial(step, precision, number)
        for precision in FORMATS[: 1 + supports_bf16(torch.device("cpu"))]
        for number in threads
    }


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


def run_child(variant: str, size: str, steps: int) -> dict[str, Any]:
    """Measure in a child process; ours has the environment that ``lstm-lm train`` sets up."""
    child = [sys.executable, __file__, "--child", variant, "--size", size, "--steps", str(steps)]
    return dict(json.loads(subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True).stdout))


def processor() -> str:
    """The name of the processor, and what it computes bfloat16 with."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.processor())} ({', '.join(flags) or platform.machine()})"


def print_ways(results: dict[tuple[str, str], list[dict[str, Any]]], title: str) -> None:
    """The table of formats and threads."""
    from rich.console import Console
    from rich.table import Table

    print(title)
    table = Table()
    for column in ("sizes, batch", "format", "threads", "tokens/s", "of fp32", "of bf16"):
        table.add_column(column, justify="left" if column == "sizes, batch" else "right")
    for (_, size), ones in results.items():
        for way in ones[0]["speed"]:
            precision, threads = way.split()
            speed = median(one["speed"][way] for one in ones)
            shares = [
                median(one["speed"][way] * one["operations"] / one["limits"][limit] for one in ones)
                for limit in (f"{name} {threads}" for name in FORMATS)
                if limit in ones[0]["limits"]
            ]
            values = (precision, threads, f"{speed:,.0f}", *(f"{share:.0%}" for share in shares))
            table.add_row(f"{size}, {ones[0]['batch']}", *values)
    Console(width=110).print(table)


def print_variants(
    results: dict[tuple[str, str], list[dict[str, Any]]], variants: dict[str, tuple[str, ...]], title: str
) -> None:
    """The table of losses or cells, each in its fastest way."""
    from rich.console import Console
    from rich.table import Table

    print(title)
    table = Table()
    table.add_column("sizes, batch")
    names = max(variants.values(), key=len)
    for column in (*names, "fastest : plain", "way"):
        table.add_column(column, justify="right")
    for size, members in variants.items():
        speeds, way = {}, ""
        for name in members:
            ones = results[name, size]
            ways = {way: median(one["speed"][way] for one in ones) for way in ones[0]["speed"]}
            way = max(ways, key=lambda one: ways[one])
            speeds[name] = ways[way]
        columns = [f"{speeds[name]:,.0f}" if name in speeds else "-" for name in names]
        ratio = f"{max(speeds.values()) / speeds['plain']:.1f}" if "plain" in speeds else "-"
        table.add_row(f"{size}, {results[members[0], size][0]['batch']}", *columns, ratio, f"{way} threads")
    Console(width=130).print(table)


def main() -> None:
    """Print the table, or one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="processes per row")
    parser.add_argument("--steps", type=int, default=10, help="timed steps per process and way")
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=tuple(SIZES), help="networks")
    parser.add_argument("--busy", action="store_true", help="keep one core busy with another process")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--losses", action="store_true", help="compare the losses with a textbook implementation")
    group.add_argument("--cells", action="store_true", help="compare the cells")
    parser.add_argument("--child", choices=("plain", *VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=tuple(SIZES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        if arguments.child != "plain":
            from lstm_lm.cli.environment import configure_process

            configure_process()
        print(json.dumps(measure(arguments.child, arguments.size, arguments.steps)))
        return
    variants: dict[str, tuple[str, ...]] = dict.fromkeys(arguments.sizes, (SAMPLED,))
    if arguments.cells:
        variants = dict.fromkeys(arguments.sizes, tuple(CELLS))
    elif arguments.losses:
        variants = {size: tuple(LOSSES) if size == RECIPE else ("plain", *LOSSES) for size in arguments.sizes}
    plan = [(variant, size) for _ in range(arguments.repeats) for size in variants for variant in variants[size]]
    results: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in plan}
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass" if arguments.busy else ""])
    try:
        for variant, size in plan:
            results[variant, size].append(run_child(variant, size, arguments.steps))
    finally:
        busy.kill()
    beside = " beside a busy process" if arguments.busy else ""
    title = f"Training step{beside}, vocabulary {VOCAB_SIZE:,}, {os.cpu_count()} cores of {processor()}"
    if arguments.losses or arguments.cells:
        print_variants(results, variants, title)
    else:
        print_ways(results, title)


if __name__ == "__main__":
    main()
