"""Benchmark training with several processes: what a step costs with 1 and 2 processes, and what it sends.

Each process of one thread runs the step of a recipe on random words: forward, backward, clipping, ``row_adamw``. The
processes are connected by gloo on this machine. Three ways to average the gradients are measured in turn, in the same
processes::

    none   no exchange: each process for itself
    dense  all-reduce of every gradient, that of the whole vocabulary included
    rows   all-gather of the embedding rows that a step used, all-reduce of the rest: what lstm-lm train does

``weak`` keeps the batch of each process, ``strong`` divides it. The efficiency is the throughput, relative to that of
one process times the number of processes. Wall times, the median, are for an idle machine; the CPU time of a process
is disturbed less by other work.

    python scripts/bench_scaling.py [--steps 10] [--size "2 x 200"] [--processes 1 2]
"""

import argparse
import os
import platform
import socket
import time
import warnings
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lstm_lm.config.validation import train_config
from lstm_lm.nn.losses import SoftmaxLoss
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.training.clipping import clip_gradients
from lstm_lm.training.objective import window_objective
from lstm_lm.training.optimizers import build_optimizer

VOCAB_SIZE = 33_278
SIZES = {
    "2 x 200": ["model=small", "batching.batch_size=64"],
    "wikitext2_60min": ["experiment=wikitext2_60min"],
}
WAYS = ("none", "dense", "rows")
WARM_UP = 2


class TrainingStep(nn.Module):
    """The objective of a window as a module, which DistributedDataParallel wraps."""

    def __init__(self, config: Any, counts: list[int], sparse: bool) -> None:
        super().__init__()
        self.model = LSTMLanguageModel(config.model, VOCAB_SIZE)
        self.model.embedding.sparse = sparse
        self.loss = SoftmaxLoss(config.loss, counts, sparse)
        self.bptt_length = config.batching.bptt_length

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> Tensor:
        """The objective of a window (B, T) from the initial state."""
        state = self.model.initial_state(len(input_ids)).tensors()
        return window_objective(self.model, self.loss, self.bptt_length, input_ids, target_ids, *state)[0]


def worker(rank: int, processes: int, port: int, size: str, divide: bool, steps: int, results: Any) -> None:
    """Measure all ways in one process."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*forward_sync_buffers.*")  # the name in the newest torch only
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    config: Any = train_config(*SIZES[size], "loss=sampled_softmax", "optimizer=row_adamw")
    counts = [2_000_000 // (word + 2) + 1 for word in range(VOCAB_SIZE)]  # Zipf-like
    batch, length = config.batching.batch_size // (processes if divide else 1), config.batching.bptt_length
    torch.manual_seed(0)
    runs = {}
    for way in WAYS if processes > 1 else ("none",):
        step = TrainingStep(config, counts, sparse=way != "dense").train()
        wrapped = DistributedDataParallel(step, broadcast_buffers=False) if way != "none" else step
        runs[way] = (step, wrapped, build_optimizer(config.optimizer, step.model))
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in runs}
    sent: dict[str, int] = {}
    generator = torch.Generator().manual_seed(rank)
    for index in range(WARM_UP + steps):
        words = torch.multinomial(torch.tensor(counts).float(), batch * (length + 1), True, generator=generator)
        words = words.view(batch, -1)
        for way, (step, wrapped, optimizer) in runs.items():
            torch.manual_seed(index)  # the same dropout and negatives in all processes, as in training
            dist.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            optimizer.zero_grad()
            wrapped(words[:, :-1], words[:, 1:]).backward()
            if index == 0:
                sent[way] = 0 if way == "none" else exchanged_bytes(step, processes, words)
            clip_gradients(step.model.parameters(), 0.25)
            optimizer.step()
            seconds[way].append((time.perf_counter() - wall, time.process_time() - cpu))
    if rank == 0:
        medians = {way: [median(part) for part in zip(*taken[WARM_UP:], strict=True)] for way, taken in seconds.items()}
        results.put({way: (batch * length, *medians[way], sent[way]) for way in runs})
    dist.barrier()
    dist.destroy_process_group()


def exchanged_bytes(step: TrainingStep, processes: int, words: Tensor) -> int:
    """Bytes that each process sends in a step: a ring all-reduce of dense gradients, an all-gather of rows and ids."""
    embedding = step.model.embedding
    dense = sum(parameter.numel() for parameter in step.parameters() if parameter is not embedding.weight)
    total = 2 * (processes - 1) / processes * dense * 4
    if not embedding.sparse:
        return round(total + 2 * (processes - 1) / processes * embedding.weight.numel() * 4)
    rows = sampled_rows(step, words)
    return round(total + (processes - 1) * rows * (embedding.embedding_dim * 4 + 8))


def sampled_rows(step: TrainingStep, words: Tensor) -> int:
    """Rows with a gradient: input words, targets, frequent words and negatives."""
    config = step.loss.config
    own = int((words.unique() >= config.num_frequent).sum())
    return own + config.num_frequent + config.num_sampled


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", choices=SIZES, default="2 x 200")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{arguments.size}, {VOCAB_SIZE:,} words, one thread per process")
    print("| scaling | processes | exchange | tokens/s | efficiency | wall ms | CPU ms | MB sent |")
    print("|---|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for divide in (False, True):
        single = 0.0
        for processes in arguments.processes:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                port = listener.getsockname()[1]
            results = context.SimpleQueue()
            multiprocessing.spawn(
                worker, (processes, port, arguments.size, divide, arguments.steps, results), processes
            )
            for way, (tokens, wall, cpu, sent) in results.get().items():
                speed = processes * tokens / wall
                single = single or speed
                name = "strong" if divide else "weak"
                print(
                    f"| {name} | {processes} | {way} | {speed:,.0f} | {100 * speed / single / processes:.0f} % "
                    f"| {1000 * wall:.0f} | {1000 * cpu:.0f} | {sent / 1e6:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
