"""Times the training step of a run in both formats and with several numbers of threads, to choose among them."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import torch

from lstm_lm.data.encoding import EncodedCorpus
from lstm_lm.data.streams import TrainWindows
from lstm_lm.errors import TrainingError
from lstm_lm.nn.losses import SoftmaxLoss
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.training.config import TrainConfig, TrainerConfig
from lstm_lm.training.objective import window_objective
from lstm_lm.training.optimizers import updates_rows

log = logging.getLogger(__name__)

_ROUNDS = 3  # steps per way after the first; the fastest counts, as it has the least disturbance
_BUDGET_FRACTION = 0.005  # of the run's budget, but at least one step per way
_MAX_SECONDS = 10.0
_MIN_GAIN = 1.05  # of bf16 over fp32, which is more exact


class StepWay(NamedTuple):
    """A way to compute a training step: ``fp32`` or ``bf16``, and the number of threads."""

    precision: str
    threads: int


def choose_way(config: TrainConfig, corpus: EncodedCorpus, saved_precision: str | None) -> StepWay:
    """Choose format and number of threads of a run, where they are not set.

    On a CPU, forward and backward pass of a training window are timed in each way. Neither the flags of a processor nor
    its matrix products predict which format is faster: that depends on the sizes of the network. A GPU multiplies
    bfloat16 ten times as fast as float32 if it supports it.

    Args:
        config: Config of the run.
        corpus: Its corpus.
        saved_precision: The format of the run that this run resumes, which it keeps if it can; ``None`` for a new run.

    Returns:
        The fastest way; ``fp32`` unless ``bf16`` is at least 5 % faster.

    Raises:
        TrainingError: If the config sets ``bf16`` and this processor cannot train in it.
    """
    trainer = config.trainer
    device = torch.device("cuda" if trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    precisions = _precisions(trainer.precision, saved_precision, device)
    most = trainer.threads or torch.get_num_threads()
    threads = sorted({1, most}) if chooses_threads(trainer, device) else [most]
    ways = [StepWay(*way) for way in product(precisions, threads)]
    if len(ways) == 1:
        return ways[0]
    seconds = _time_ways(_window_step(config, corpus), ways, trainer.budget_seconds)
    taken = (f"{1000 * seconds[way]:,.0f} ms in {way.precision} (threads: {way.threads})" for way in ways)
    log.info("forward and backward pass of a window take %s", ", ".join(taken))
    return fastest(seconds)


def supports_bf16(device: torch.device) -> bool:
    """Whether a device has its own instructions for bfloat16.

    Without them, as on processors with AVX2 but no AVX-512, torch's LSTM raises an error under autocast, and a matrix
    product takes hundreds of times as long as in float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            torch.nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True


def _precisions(precision: str, saved: str | None, device: torch.device) -> list[str]:
    """The formats to choose from."""
    if precision == "auto":
        if not supports_bf16(device):
            return ["fp32"]
        if saved is not None:
            return [saved]
        return ["bf16"] if device.type == "cuda" else ["fp32", "bf16"]
    if precision == "bf16" and device.type == "cpu" and not supports_bf16(device):
        raise TrainingError(
            "trainer.precision=bf16: this processor has no bfloat16 instructions that torch can train with; leave the "
            "setting out, or set trainer.precision=fp32"
        )
    return [precision]


def chooses_threads(trainer: TrainerConfig, device: torch.device) -> bool:
    """Whether a run chooses its number of threads: several processes share the cores, and a GPU needs only one."""
    return not trainer.threads and trainer.num_processes == 1 and device.type == "cpu"


def fastest(seconds: dict[StepWay, float]) -> StepWay:
    """The way that takes the least time; ``fp32`` unless ``bf16`` is at least 5 % faster."""
    return min(seconds, key=lambda way: seconds[way] * (_MIN_GAIN if way.precision == "bf16" else 1.0))


def _window_step(config: TrainConfig, corpus: EncodedCorpus) -> Callable[[StepWay], None]:
    """Forward pass, loss and backward pass of the first window, with new weights."""
    vocabulary = corpus.vocabulary
    with torch.random.fork_rng(devices=[]):
        model = LSTMLanguageModel(config.model, len(vocabulary))
    loss = SoftmaxLoss(config.loss, vocabulary.counts, updates_rows(config.optimizer))
    batching = replace(config.batching, jitter=False)
    window = next(iter(TrainWindows(corpus.splits["train"], batching, config.seed, vocabulary.eos_id)))
    state = model.initial_state(batching.batch_size).tensors()

    def step(way: StepWay) -> None:
        torch.set_num_threads(way.threads)
        with torch.random.fork_rng(devices=[]):
            with torch.autocast("cpu", torch.bfloat16, enabled=way.precision == "bf16"):
                tensors = (window.input_ids, window.target_ids, *state)
                objective = window_objective(model, loss, batching.bptt_length, *tensors)[0]
            objective.backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    return step


def _time_ways(step: Callable[[StepWay], None], ways: Sequence[StepWay], budget: float | None) -> dict[StepWay, float]:
    """The least seconds of a step in each way.

    The ways alternate, so that other load on the machine affects all of them.
    """
    most = _MAX_SECONDS if budget is None else min(_BUDGET_FRACTION * budget, _MAX_SECONDS)
    began = time.perf_counter()
    seconds: dict[StepWay, float] = {}
    for number in range(1 + _ROUNDS):
        for way in ways:
            begin = time.perf_counter()
            step(way)
            taken = time.perf_counter() - begin
            # the first step of a way prepares its kernels: it counts only if there is no time for another one
            seconds[way] = taken if number <= 1 else min(seconds[way], taken)
        if (time.perf_counter() - began) * (number + 2) / (number + 1) > most:
            break
    return seconds
