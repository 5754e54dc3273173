"""Benchmark a training step on a GPU and its parts, and compare it with the GPU's matrix products.

Every measurement is printed, and appended to ``--out`` as one line of JSON. The run ends after ``--seconds``, even if
sections are left. A section that fails reports its error, and the next one starts.

Sections::

    limits     a large bfloat16 product and a large copy, the limits of the device
    step       training steps of the recipe's network at several batch sizes, with and without CUDA graphs
    lstm       forward and backward of single LSTM layers, in bfloat16 and float16
    loss       forward and backward of the output layer: exact, sampled, and torch's cross-entropy
    optimizer  gradient clipping, optimizers and weight averaging over all weights
    dynamic    a segment of dynamic evaluation with its update, with and without CUDA graphs
    sizes      training steps of other networks
    profile    the kernels of a step
    libraries  fused cross-entropies of other packages, if they are installed

The operations of a step are counted as in scripts/bench_training.py: 6 per token and weight of the LSTM layers and the
output layer. "share of bf16" is their rate as a share of the product in ``limits``.

    python scripts/bench_gpu.py [--seconds 120] [--sections limits step] [--out bench.jsonl] [--device cpu]
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from lstm_lm.nn.device import wait_for

RECIPE = "wikitext2_gpu_10min"
BATCHES = (64, 80, 96, 128, 256, 1024)
OTHER_SIZES = {"2 x 640/400": (400, [640, 400]), "2 x 2048/512": (512, [2048, 512])}
OTHER_BATCHES = (64, 256, 1024)
BLOCKS = 3  # of timed runs; the table shows the median block

Row = dict[str, Any]


class Bench:
    """Device, recipe and timer of all sections.

    Args:
        device: ``cuda``, or ``cpu`` for a small run that tests the script.
        deadline: End of the run, on the monotonic clock.
    """

    def __init__(self, device: torch.device, deadline: float) -> None:
        from lstm_lm.config.validation import check
        from lstm_lm.text.vocabulary import Vocabulary

        self.device = device
        self.small = device.type == "cpu"
        self.deadline = deadline
        self.vocab_size = 300 if self.small else 33_278
        self.length = 6 if self.small else 70
        self.batches = (2,) if self.small else BATCHES
        self.config: Any = check("train", [f"experiment={RECIPE}"]).config
        if self.small:
            self.config = self.sized(16, [24, 16])
        # Zipf's law
        self.counts = [2_000_000 // (rank + 2) + 1 for rank in range(self.vocab_size)]
        words = ("<unk>", "<eos>", *(f"word{rank}" for rank in range(2, self.vocab_size)))
        self.vocabulary = Vocabulary(words, self.counts)
        self.matrix_rate: float | None = None

    def sized(self, embedding_dim: int, hidden_dims: list[int]) -> Any:
        """The config of the recipe with another network."""
        model = replace(self.config.model, embedding_dim=embedding_dim, hidden_dims=hidden_dims)
        return replace(self.config, model=model)

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def sync(self) -> None:
        """Wait for the device."""
        wait_for(self.device)

    def seconds(self, work: Callable[[], Any], seconds: float = 0.4) -> float:
        """Median time of ``work``, measured for about ``seconds`` after a warm-up."""
        for _ in range(3):
            work()
        self.sync()
        begin = time.monotonic()
        work()
        self.sync()
        times = max(1, min(30, round(seconds / BLOCKS / max(time.monotonic() - begin, 1e-6))))
        blocks = []
        for _ in range(BLOCKS):
            begin = time.monotonic()
            for _ in range(times):
                work()
            self.sync()
            blocks.append((time.monotonic() - begin) / times)
        return median(blocks)

    def words(self, *shape: int) -> Tensor:
        """Random word ids, drawn by their counts."""
        drawn = torch.multinomial(torch.tensor(self.counts).float(), int(torch.tensor(shape).prod()), replacement=True)
        return drawn.view(shape).to(self.device)

    def step(self, config: Any, batch_size: int, cuda_graphs: bool = False) -> Callable[[], None]:
        """A training step of ``lstm-lm train``, without Lightning's loop."""
        from lstm_lm.data.encoding import EncodedCorpus
        from lstm_lm.data.streams import Window
        from lstm_lm.training.module import LanguageModelModule
        from lstm_lm.training.optimizers import build_optimizer

        corpus = EncodedCorpus(self.vocabulary, {}, "whitespace", config.data, {})
        config = replace(
            config,
            batching=replace(config.batching, bptt_length=self.length),
            trainer=replace(config.trainer, cuda_graphs=cuda_graphs),
        )
        module = LanguageModelModule.from_config(config, corpus, fraction=lambda _: 0.5)
        module.to(self.device).train()
        optimizer = build_optimizer(config.optimizer, module.model)
        words = self.words(batch_size, self.length + 1)
        window = Window(words[:, :-1].contiguous(), words[:, 1:].contiguous(), None, starts_stream=False)

        def step() -> None:
            module.on_train_batch_start(window, 0)
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = module.training_step(window, 0)["loss"]
            optimizer.zero_grad()
            loss.backward()
            module.configure_gradient_clipping(optimizer, config.trainer.gradient_clip_val)
            optimizer.step()

        return step

    def step_row(self, name: str, config: Any, batch_size: int, cuda_graphs: bool) -> Row:
        """Time of a step, tokens per second and the share of the bfloat16 product's rate."""
        taken = self.seconds(self.step(config, batch_size, cuda_graphs), 0.6)
        speed = batch_size * self.length / taken
        row: Row = {"what": name, "batch": batch_size, "cuda_graphs": cuda_graphs}
        row |= {"ms": 1000 * taken, "tokens/s": speed}
        if self.matrix_rate:
            row["share of bf16"] = 6 * speed * num_multiplied_weights(config.model, self.vocab_size) / self.matrix_rate
        return row


def num_multiplied_weights(model: Any, vocab_size: int) -> int:
    """Number of weights that each token is multiplied with."""
    widths = [model.embedding_dim, *model.hidden_dims]
    layers = sum(4 * hidden * (below + hidden) for below, hidden in pairwise(widths))
    return int(layers + vocab_size * widths[-1])


def limits(bench: Bench) -> Iterator[Row]:
    """Peak rates of the device."""
    size = 256 if bench.small else 8192
    left, right = (torch.randn(size, size, device=bench.device).bfloat16() for _ in range(2))
    bench.matrix_rate = 2 * size**3 / bench.seconds(lambda: left @ right)
    yield {"what": f"bf16 product {size}", "TFLOP/s": bench.matrix_rate / 1e12}
    source = torch.empty(2**20 if bench.small else 2**30, dtype=torch.uint8, device=bench.device).random_()
    target = torch.empty_like(source)
    yield {"what": "copy", "TB/s": 2 * source.numel() / bench.seconds(lambda: target.copy_(source)) / 1e12}


def steps(bench: Bench) -> Iterator[Row]:
    """The recipe's network."""
    for batch_size in bench.batches:
        for cuda_graphs in (False, True):
            yield bench.step_row("3 x 1152/400", bench.config, batch_size, cuda_graphs)


def lstm(bench: Bench) -> Iterator[Row]:
    """Single layers; cuDNN has a persistent kernel for float16, for up to 1024 units and a batch of 128."""
    layers = [(400, 1152), (1152, 1152), (1152, 400), (512, 1024), (1024, 1024), (1024, 512)]
    for inputs, hidden in [(16, 24)] if bench.small else layers:
        for dtype in (torch.bfloat16, torch.float16) if bench.device.type == "cuda" else (torch.bfloat16,):
            for batch_size in bench.batches[:1] if bench.small else (96, 128):
                taken = bench.seconds(lstm_work(bench, inputs, hidden, batch_size, dtype), 0.2)
                name = f"LSTM {inputs} -> {hidden} {str(dtype).removeprefix('torch.')}"
                yield {"what": name, "batch": batch_size, "ms": 1000 * taken}


def lstm_work(bench: Bench, inputs: int, hidden: int, batch_size: int, dtype: torch.dtype) -> Callable[[], None]:
    """Forward and backward of a layer, with its weights in one buffer."""
    from lstm_lm.nn.cells.lstm import in_one_buffer

    shapes = [(4 * hidden, inputs), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
    weights = in_one_buffer([0.05 * torch.randn(shape, device=bench.device).to(dtype) for shape in shapes])
    leaves = [weight.detach().requires_grad_() for weight in weights]
    features = torch.randn(bench.length, batch_size, inputs, device=bench.device).to(dtype).requires_grad_()
    state = [torch.zeros(1, batch_size, hidden, device=bench.device, dtype=dtype) for _ in range(2)]
    gradient = torch.randn(bench.length, batch_size, hidden, device=bench.device).to(dtype)

    def work() -> None:
        output = torch.lstm(features, state, leaves, True, 1, 0.0, True, False, False)[0]
        torch.autograd.grad(output, [features, *leaves], gradient)

    return work


def losses(bench: Bench) -> Iterator[Row]:
    """The output layer of a window at the recipe's batch size."""
    for name, objective in loss_functions(bench).items():
        yield loss_row(bench, name, objective)


def loss_row(bench: Bench, name: str, objective: Callable[..., Tensor]) -> Row:
    """Time of forward and backward for one window."""
    num_tokens = 24 if bench.small else bench.config.batching.batch_size * bench.length
    width = bench.config.model.hidden_dims[-1]
    features = torch.randn(num_tokens, width, device=bench.device).bfloat16().requires_grad_()
    weight = (0.1 * torch.randn(bench.vocab_size, width, device=bench.device)).requires_grad_()
    bias = torch.zeros(bench.vocab_size, device=bench.device).requires_grad_()
    target_ids = bench.words(num_tokens)

    def work() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16):
            loss = objective(features, weight, bias, target_ids)
        torch.autograd.grad(loss, [features, weight, bias])

    return {"what": name, "tokens": num_tokens, "ms": 1000 * bench.seconds(work, 0.3)}


def loss_functions(bench: Bench) -> dict[str, Callable[..., Tensor]]:
    """The losses of lstm_lm and torch's cross-entropy, by name."""
    from lstm_lm.nn.losses import SoftmaxLoss

    exact = SoftmaxLoss(bench.config.loss, bench.counts)
    sampled_config = replace(bench.config.loss, name="sampled_softmax", num_frequent=100 if bench.small else 1000)
    sampled_config = replace(sampled_config, num_sampled=50 if bench.small else 1024)
    sampled = SoftmaxLoss(sampled_config, bench.counts).to(bench.device)
    return {
        "exact softmax, ours": exact,
        "sampled softmax, ours": sampled,
        "torch, float32 logits": lambda x, w, b, ids: F.cross_entropy(F.linear(x, w, b).float(), ids),
        "torch, bf16 logits": lambda x, w, b, ids: (
            -F.log_softmax(F.linear(x, w, b), 1, torch.float32).gather(1, ids.unsqueeze(1)).mean()
        ),
    }


def optimizers(bench: Bench) -> Iterator[Row]:
    """The parts of a step after the backward pass."""
    from lstm_lm.nn.model import LSTMLanguageModel
    from lstm_lm.training.optimizers import build_optimizer

    model = LSTMLanguageModel(bench.config.model, bench.vocab_size).to(bench.device)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = 1e-3 * torch.randn_like(parameter)

    def clip() -> None:
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        torch.nn.utils.clip_grads_with_norm_(parameters, 0.25, norm)

    yield {"what": "clipping", "ms": 1000 * bench.seconds(clip, 0.2)}
    for target in ("torch.optim.AdamW", "lstm_lm.training.row_adamw.RowAdamW", "torch.optim.SGD"):
        optimizer = build_optimizer({"_target_": target, "lr": 1e-3}, model)
        yield {"what": f"{target.rpartition('.')[2]}, dense", "ms": 1000 * bench.seconds(optimizer.step, 0.2)}
    averages = [torch.zeros_like(parameter) for parameter in parameters]
    weights = [parameter.detach() for parameter in parameters]
    yield {"what": "average", "ms": 1000 * bench.seconds(lambda: torch._foreach_lerp_(averages, weights, 0.01), 0.2)}


def dynamic(bench: Bench) -> Iterator[Row]:
    """Dynamic evaluation of one stream, in float32."""
    from lstm_lm.evaluation.config import EvaluationConfig
    from lstm_lm.evaluation.dynamic import DynamicEvaluator, GradientRMS
    from lstm_lm.nn.device import use_exact_float32
    from lstm_lm.nn.model import LSTMLanguageModel

    use_exact_float32(bench.device)
    model = LSTMLanguageModel(bench.config.model, bench.vocab_size).to(bench.device)
    rms = GradientRMS([torch.ones_like(parameter) for parameter in model.parameters()], 1.0)
    length, segments = EvaluationConfig("dynamic").words_per_window, 5 if bench.small else 1000
    evaluator = DynamicEvaluator(model, rms, length)
    ids = bench.words(length * segments).cpu().numpy()

    def seconds() -> float:
        begin = time.monotonic()
        for _ in evaluator.score_stream(ids, bench.vocabulary.eos_id, lr=1e-3, decay=1e-3):
            bench.sync()
        return time.monotonic() - begin

    seconds()
    for cuda_graphs in (False, True):
        without = nullcontext() if cuda_graphs else patch("lstm_lm.evaluation.dynamic.graphed", lambda step, *_: step)
        with without:
            taken = seconds() / segments
        yield {"what": f"dynamic evaluation, {length} words", "cuda_graphs": cuda_graphs, "ms": 1000 * taken}


def sizes(bench: Bench) -> Iterator[Row]:
    """Other networks, with CUDA graphs."""
    others = {"small": (16, [16])} if bench.small else OTHER_SIZES
    for name, (embedding_dim, hidden_dims) in others.items():
        for batch_size in bench.batches if bench.small else OTHER_BATCHES:
            yield bench.step_row(name, bench.sized(embedding_dim, hidden_dims), batch_size, True)


def profile(bench: Bench) -> Iterator[Row]:
    """The kernels of one step at the recipe's batch size, without CUDA graphs."""
    step = bench.step(bench.config, bench.batches[0] if bench.small else bench.config.batching.batch_size)
    for _ in range(5):
        step()
    bench.sync()
    activity = torch.profiler.ProfilerActivity
    activities = [activity.CPU] if bench.device.type == "cpu" else [activity.CUDA]
    with torch.profiler.profile(activities=activities) as profiled:
        step()
        bench.sync()
    key = "self_cpu_time_total" if bench.device.type == "cpu" else "self_device_time_total"
    events = sorted(profiled.key_averages(), key=lambda event: -float(getattr(event, key)))
    total = sum(float(getattr(event, key)) for event in events)
    yield {"what": "kernels of a step", "kernels": sum(event.count for event in events), "ms": total / 1000}
    for event in events[:15]:
        taken = float(getattr(event, key))
        yield {"what": event.key[:100], "kernels": event.count, "ms": taken / 1000, "share": taken / max(total, 1e-9)}


def libraries(bench: Bench) -> Iterator[Row]:
    """Cross-entropies of other packages, fused with the output layer."""
    if bench.small:
        yield {"what": "libraries", "skipped": "their kernels need a GPU"}
        return
    try:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Liger
    except ImportError as error:
        yield {"what": "liger", "skipped": str(error)}
    else:

        def liger(features: Tensor, weight: Tensor, bias: Tensor, target_ids: Tensor) -> Tensor:
            loss = Liger.apply(features, weight.to(features.dtype), target_ids, bias.to(features.dtype))
            return loss[0] if isinstance(loss, tuple) else loss

        yield loss_row(bench, "liger", liger)
    try:
        from cut_cross_entropy import linear_cross_entropy
    except ImportError as error:
        yield {"what": "cut-cross-entropy", "skipped": str(error)}
    else:

        def cut(features: Tensor, weight: Tensor, bias: Tensor, target_ids: Tensor) -> Tensor:
            loss: Tensor = linear_cross_entropy(features, weight.to(features.dtype), target_ids)
            return loss + 0.0 * bias.sum()

        yield loss_row(bench, "cut-cross-entropy, no bias", cut)


SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "limits": limits,
    "step": steps,
    "lstm": lstm,
    "loss": losses,
    "optimizer": optimizers,
    "dynamic": dynamic,
    "sizes": sizes,
    "profile": profile,
    "libraries": libraries,
}


def format_row(row: Row) -> str:
    """A row as a line of text."""
    parts = [f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()]
    return "  ".join(parts).removeprefix("section ")


def main() -> None:
    """Run the sections until the time is over."""
    from lstm_lm.training.step_timing import supports_bf16

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="end after this many seconds")
    parser.add_argument("--sections", nargs="+", choices=tuple(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--batches", nargs="+", type=int, help="batch sizes of the step section")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, help="file that gets one line of JSON per measurement")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if not supports_bf16(device):
        parser.error(f"--device {device}: has no bfloat16 instructions, which every section uses")
    bench = Bench(device, time.monotonic() + arguments.seconds)
    bench.batches = tuple(arguments.batches or bench.batches)
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    report(arguments.out, {"section": "device", "what": name, "torch": torch.__version__})
    for section in arguments.sections:
        try:
            rows = SECTIONS[section](bench)
            while bench.left() > 0.0 and (row := next(rows, None)) is not None:
                report(arguments.out, {"section": section, **row})
        except Exception as error:  # an error in one section must not stop the others
            report(arguments.out, {"section": section, "error": f"{type(error).__name__}: {error}"[:300]})
        if bench.left() <= 0.0:
            report(arguments.out, {"section": section, "what": "time is over"})
            break


def report(out: Path | None, row: Row) -> None:
    """Print a row and append it to the file."""
    print(format_row(row), flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
