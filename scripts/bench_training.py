"""Tokens a second of a training step: our path against the plain way, in one run, side by side.

The plain way is what most tutorials do: ``nn.LSTM``, logits of the whole window, ``F.cross_entropy``, float32, and the
process as it is started. Ours is a step of ``lstm-lm train`` with the sampled softmax: same network, same batch, same
optimizer. Both take turns, each time in a process of its own, so that whatever else the machine does meets both; the
table shows medians.

The last column is the share of the speed of a large float32 matrix product, measured in the same process, that our
step reaches. Its work is counted by formula: 6 operations a token for each weight of the LSTM layers and each weight of
the output layer that is used (2 in the forward pass, 4 in the backward pass).

    python scripts/bench_training.py [--rounds 3] [--steps 15] [--load]
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

VOCAB_SIZE = 33_278
BATCH_SIZE, BPTT_LENGTH = 20, 35
UNITS = (200, 650)


def zipf_counts() -> list[int]:
    """Counts that fall as those of words do."""
    return [2_000_000 // (rank + 2) + 1 for rank in range(VOCAB_SIZE)]


def measure(way: str, units: int, steps: int) -> dict[str, float]:
    """Time training steps in this process.

    Returns:
        ``tokens_per_second`` and ``share``, of the matrix product's speed.
    """
    import torch
    from torch.nn import functional as F

    from lstm_lm.nn.losses import SoftmaxLoss
    from lstm_lm.nn.model import LSTMLanguageModel
    from lstm_lm.nn.spec import LossSpec, ModelSpec

    torch.manual_seed(0)
    counts = zipf_counts()
    model = LSTMLanguageModel(ModelSpec(units, [units, units]), VOCAB_SIZE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=way == "ours")
    loss_spec = LossSpec("sampled_softmax")
    softmax_loss = SoftmaxLoss(loss_spec, counts)
    drawn = torch.multinomial(torch.tensor(counts, dtype=torch.float), BATCH_SIZE * (BPTT_LENGTH + 1), replacement=True)
    words = drawn.view(BATCH_SIZE, BPTT_LENGTH + 1)
    state = model.initial_state(BATCH_SIZE)

    def step() -> None:
        nonlocal state
        features, after = model.features(words[:, :-1], state)
        state = after.detach()
        features, target_ids = features.flatten(0, 1), words[:, 1:].flatten()
        if way == "ours":
            loss = softmax_loss(features, model.output_weight, model.output_bias, target_ids)
        else:
            loss = F.cross_entropy(model.logits(features), target_ids)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()

    def seconds(work: Any, times: int) -> float:
        work()
        taken = []
        for _ in range(times):
            begin = time.perf_counter()
            work()
            taken.append(time.perf_counter() - begin)
        return median(taken)

    left, right = torch.randn(2048, 512), torch.randn(512, 4096)
    tokens_per_second = BATCH_SIZE * BPTT_LENGTH / seconds(step, steps)
    product = 2 * 2048 * 512 * 4096 / seconds(lambda: left @ right, 10)
    candidates = loss_spec.num_frequent + loss_spec.num_sampled + 1 if way == "ours" else VOCAB_SIZE
    operations = 6 * (2 * 4 * units * (units + units) + candidates * units)
    return {"tokens_per_second": tokens_per_second, "share": tokens_per_second * operations / product}


def run_child(way: str, units: int, steps: int) -> dict[str, float]:
    """Measure in a process of its own, ours under the environment that ``lstm-lm train`` makes for itself."""
    child = [sys.executable, __file__, "--child", way, "--units", str(units), "--steps", str(steps)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def spin() -> None:
    """Keep one core busy."""
    while True:
        pass


def main() -> None:
    """Print the table, or one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way and size")
    parser.add_argument("--steps", type=int, default=15, help="timed steps of each process")
    parser.add_argument("--load", action="store_true", help="keep one core busy with something else")
    parser.add_argument("--child", choices=("plain", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--units", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        if arguments.child == "ours":
            from lstm_lm.cli.environment import prepare_environment

            prepare_environment()
        print(json.dumps(measure(arguments.child, arguments.units, arguments.steps)))
        return

    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    rival = multiprocessing.Process(target=spin, daemon=True)
    if arguments.load:
        rival.start()
    plan = [(way, units) for _ in range(arguments.rounds) for units in UNITS for way in ("plain", "ours")]
    results: dict[tuple[str, int], list[dict[str, float]]] = {key: [] for key in plan}
    for way, units in track(plan, description="measuring", transient=True, console=Console(stderr=True)):
        results[way, units].append(run_child(way, units, arguments.steps))
    title = f"Training step, vocabulary {VOCAB_SIZE:,}, batch {BATCH_SIZE} x {BPTT_LENGTH}, {os.cpu_count()} cores"
    table = Table(title=title + (", one busy with something else" if arguments.load else ""))
    for column in ("2 LSTM layers of", "plain tokens/s", "ours tokens/s", "ratio", "share of matrix product"):
        table.add_column(column, justify="right")
    for units in UNITS:
        plain, ours = (median(r["tokens_per_second"] for r in results[way, units]) for way in ("plain", "ours"))
        share = median(r["share"] for r in results["ours", units])
        table.add_row(str(units), f"{plain:,.0f}", f"{ours:,.0f}", f"{ours / plain:.1f}", f"{share:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
