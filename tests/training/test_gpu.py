"""Training and evaluation on a GPU: the parts that run on any device, and the rest if there is a GPU."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from helpers.small_models import small_corpus, small_vocabulary
from helpers.small_runs import ConfigFactory, needs_bf16, optimizer_config
from helpers.waiting import DEADLINE
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.config.validation import check
from lstm_lm.data.config import BatchingConfig
from lstm_lm.data.encoding import encode_split
from lstm_lm.data.streams import EvalWindows, TrainWindows, Window
from lstm_lm.errors import ConfigError, EvaluationError, TrainingError
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.static import evaluate_static
from lstm_lm.nn.cells.base import NoOptions
from lstm_lm.nn.cells.lstm import LSTM, in_one_buffer
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.nn.device import find_device
from lstm_lm.nn.exact_softmax import low_precision_cross_entropy
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.nn.sampled_softmax import draw_words, inclusion_probabilities
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.config import TrainConfig, TrainerConfig
from lstm_lm.training.module import LanguageModelModule
from lstm_lm.training.optimizers import build_optimizer
from lstm_lm.training.run import train

NO_GPU = not torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(NO_GPU, reason="no GPU found")
CPU = torch.device("cpu")
WORDS = len(small_vocabulary())


def distance(got: Tensor, wanted: Tensor) -> float:
    """Relative difference of two tensors."""
    return float((got.double().cpu() - wanted.double()).norm() / wanted.double().norm())


def module(model: ModelConfig | None = None, **settings: Any) -> LanguageModelModule:
    torch.manual_seed(0)
    return LanguageModelModule(
        small_corpus(),
        LSTMLanguageModel(model or ModelConfig(16, [24, 16]), WORDS),
        **{
            "loss": LossConfig(activation_reg=1.0, temporal_activation_reg=1.0),
            "optimizer": optimizer_config("adamw", lr=1e-2),
            "bptt_length": 6,
            "fraction": lambda _: 0.5,
            **settings,
        },
    ).train()


def window(length: int = 6, seed: int = 0) -> Window:
    words = torch.randint(WORDS, (8, length + 1), generator=torch.Generator().manual_seed(seed))
    return Window(words[:, :-1].contiguous(), words[:, 1:].contiguous(), None, starts_stream=seed == 0)


def gradients(trained: LanguageModelModule, device: str, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    trained.to(device)
    with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
        outputs = trained.training_step(window().to(device), 0)
    outputs["loss"].backward()
    found = {
        name: parameter.grad.to_dense().cpu()
        for name, parameter in trained.model.named_parameters()
        if parameter.grad is not None
    }
    return outputs["nll"].cpu(), found


def take_step(trained: LanguageModelModule, optimizer: Optimizer, batch: Window, number: int) -> Tensor:
    """A step as the Trainer takes it; in bfloat16 on a GPU. Returns its negative log likelihood."""
    trained.on_train_batch_start(batch, number)
    device = batch.input_ids.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        outputs = trained.training_step(batch, number)
    optimizer.zero_grad()
    outputs["loss"].backward()
    trained.configure_gradient_clipping(optimizer, 0.25)
    optimizer.step()
    return outputs["nll"]


def test_what_the_tests_on_a_gpu_use_runs_on_a_cpu() -> None:
    # no machine of the project's CI has a GPU: a name that changes must be noticed here
    trained = module()
    _, found = gradients(trained, "cpu", torch.float32)
    optimizer = build_optimizer(trained.optimizer_config, trained.model)
    losses = [float(take_step(trained, optimizer, window(), number)) for number in range(3)]
    assert "output_bias" in found
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("random_offset", [False, True])
def test_windows_from_a_split_on_a_device_are_the_same(random_offset: bool) -> None:
    ids = np.random.default_rng(0).integers(1, 50, size=997).astype(np.int32)
    batching = BatchingConfig(batch_size=4, bptt_length=10, random_offset=random_offset)
    pairs = [
        (TrainWindows(ids, batching, 1, 0), TrainWindows(ids, batching, 1, 0, device=CPU)),
        (EvalWindows(ids, 3, 10, 0), EvalWindows(ids, 3, 10, 0, device=CPU)),
    ]
    for plain, on_device in pairs:
        for _ in range(2):  # epochs
            for one, other in zip(plain, on_device, strict=True):
                counted = torch.ones_like(one.input_ids).bool() if one.mask is None else one.mask
                assert torch.equal(one.input_ids[counted], other.input_ids[counted])
                assert torch.equal(one.target_ids[counted], other.target_ids[counted])
                assert (one.mask is None) == (other.mask is None)
                assert one.starts_stream == other.starts_stream


def test_weights_in_one_buffer_have_the_same_values_and_gradients() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(shape, requires_grad=True) for shape in ((8, 3), (8, 2), (8,), (8,))]
    views = in_one_buffer(weights)
    end = views[0].data_ptr()
    for view, weight in zip(views, weights, strict=True):
        assert torch.equal(view, weight)
        assert view.is_contiguous()
        assert view.data_ptr() == end
        end += view.numel() * view.element_size()
    factors = [torch.randn_like(weight) for weight in weights]
    total = sum(((view * factor).sum() for view, factor in zip(views, factors, strict=True)), torch.zeros(()))
    for found, factor in zip(torch.autograd.grad(total, weights), factors, strict=True):
        torch.testing.assert_close(found, factor)


@pytest.mark.parametrize("chunk", [7, 64])
def test_low_precision_cross_entropy_is_close_to_cross_entropy(chunk: int) -> None:
    torch.manual_seed(0)
    features, weight, bias = torch.randn(23, 16), torch.randn(40, 16), torch.randn(40)
    target_ids = torch.randint(40, (23,))
    leaves = [tensor.requires_grad_() for tensor in (features, weight, bias)]
    plain = F.cross_entropy(F.linear(*leaves), target_ids, reduction="sum")
    wanted = torch.autograd.grad(plain, leaves)
    grad_weight, grad_bias, grad_features = torch.zeros(40, 16), torch.zeros(40), torch.empty(23, 16)
    low = [tensor.detach().bfloat16() for tensor in leaves]
    total = low_precision_cross_entropy(
        low[0], target_ids, chunk, low[1], low[2], grad_weight, grad_bias, grad_features
    )
    assert total.dtype == torch.float64
    assert float(total) == pytest.approx(plain.item(), rel=1e-2)
    for got, exact in zip((grad_features, grad_weight, grad_bias), wanted, strict=True):
        assert distance(got, exact) < 2e-2


@pytest.mark.slow
@needs_bf16
def test_bench_gpu_runs_every_section_on_a_cpu(tmp_path: Path) -> None:
    script, out = Path(__file__).parents[2] / "scripts" / "bench_gpu.py", tmp_path / "bench.jsonl"
    command = [sys.executable, script, "--device", "cpu", "--seconds", "120", "--out", out]
    subprocess.run(command, check=True, timeout=2 * DEADLINE, capture_output=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert not [row for row in rows if "error" in row]
    sections = {"device", "limits", "step", "lstm", "loss", "optimizer", "dynamic", "sizes", "profile", "libraries"}
    assert {row["section"] for row in rows} == sections
    assert all(row["ms"] > 0.0 for row in rows if "ms" in row)


def test_a_draw_of_fixed_size_contains_the_same_words() -> None:
    inclusion = inclusion_probabilities(torch.arange(200, 0, -1).double(), 40)
    for seed in range(20):
        torch.manual_seed(seed)
        drawn, log_inclusion = draw_words(inclusion, 40, 20, fixed_size=False)
        drawn, log_inclusion = drawn[log_inclusion.isfinite()], log_inclusion[log_inclusion.isfinite()]
        torch.manual_seed(seed)
        padded, log_padded = draw_words(inclusion, 40, 20, fixed_size=True)
        is_drawn = log_padded.isfinite()
        assert len(padded) == len(padded.unique()) == 40 + round(6 * 40**0.5)
        assert sorted(padded[is_drawn].tolist()) == drawn.tolist()
        torch.testing.assert_close(log_padded[is_drawn].sort().values, log_inclusion.sort().values)


def test_a_pending_loss_that_is_not_finite_is_reported_with_its_step() -> None:
    metrics = TrainingMetrics(TimeBudget(None), epoch_tokens=100)
    metrics._pending_losses = [(7, torch.tensor(3.0)), (8, torch.tensor(2.0)), (9, torch.tensor(torch.inf))]
    unit = module()
    unit.trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    with pytest.raises(TrainingError, match=r"the loss became inf at step 9; lower optimizer\.lr"):
        metrics._collect_losses(unit)
    assert (metrics.first_loss, metrics.last_loss) == (3.0, 2.0)


@pytest.mark.parametrize("experiment", ["wikitext2_gpu_10min", "wikitext103_gpu"])
def test_the_gpu_recipes_run_on_a_cpu(experiment: str, corpus: Path, tmp_path: Path) -> None:
    small = [
        "trainer.accelerator=cpu",
        "data=text_files",
        f"data.dir={corpus}",
        "embedding_init=random",
        "batching.batch_size=4",
        "batching.bptt_length=20",
        "model.embedding_dim=16",
        "model.hidden_dims=[24,16]",
        "loss.num_frequent=4",
        "loss.num_sampled=8",
        "callbacks=quiet",
        "trainer.budget=null",
        "trainer.max_epochs=2",
    ]
    config = check("train", [f"experiment={experiment}", "trainer=gpu", *small]).config
    assert isinstance(config, TrainConfig)
    metrics = train(config, tmp_path)
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]


def test_the_device_of_an_evaluation_is_found() -> None:
    with pytest.raises(ConfigError, match=r"accelerator: unknown \(got 'tpu'\)"):
        check("eval", ["checkpoint=best.ckpt", "accelerator=tpu"])
    assert find_device("cpu") == CPU
    if NO_GPU:
        assert find_device("auto") == CPU
        with pytest.raises(EvaluationError, match="no GPU found"):
            find_device("gpu")


@needs_gpu
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_a_layer_gives_the_same_output_on_a_gpu(dtype: torch.dtype, limit: float) -> None:
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    layer = LSTM(64, 96, 0.0, NoOptions())
    features, state = torch.randn(8, 20, 64), torch.randn(1, 8, 96)
    results = []
    for device in ("cpu", "cuda"):
        layer.to(device).zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda" and dtype == torch.bfloat16):
            output, (hidden, cell) = layer(features.to(device), (state.to(device), state.to(device)))
        (output.float().square().mean() + hidden.float().sum() + cell.float().square().sum()).backward()
        results.append(
            [output.detach().cpu(), *(p.grad.cpu().clone() for p in layer.parameters() if p.grad is not None)]
        )
    for wanted, got in zip(*results, strict=True):
        assert distance(got, wanted) < limit


@needs_gpu
@pytest.mark.parametrize("loss", ["full_softmax", "sampled_softmax"])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_loss_and_gradients_are_the_same_on_a_gpu(loss: str, dtype: torch.dtype, limit: float) -> None:
    torch.backends.cudnn.allow_tf32 = False
    # all words are frequent, so nothing is sampled: two devices sample different words
    config = LossConfig(loss, num_frequent=WORDS, activation_reg=1.0, temporal_activation_reg=1.0)
    wanted_nll, wanted = gradients(module(loss=config), "cpu", torch.float32)
    nll, found = gradients(module(loss=config), "cuda", dtype)
    assert float(nll) == pytest.approx(float(wanted_nll), rel=limit)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert distance(found[name], gradient) < limit, name


@needs_gpu
@pytest.mark.parametrize("loss", [LossConfig(), LossConfig("sampled_softmax", num_frequent=4, num_sampled=6)])
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_no_step_synchronizes_with_the_gpu(loss: LossConfig, cuda_graphs: bool) -> None:
    model = ModelConfig(16, [24, 16], True, 0.1, 0.1, 0.1, 0.1, 0.1)
    adamw = optimizer_config("row_adamw", lr=1e-2)
    trained = module(model, loss=loss, optimizer=adamw, cuda_graphs=cuda_graphs).to("cuda")
    optimizer = build_optimizer(adamw, trained.model)
    windows = [window(seed=seed).to("cuda") for seed in range(6)]
    losses = []
    try:
        for number, batch in enumerate(windows):
            if number == 3:  # by now everything that is built once exists
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode("error")
            losses.append(take_step(trained, optimizer, batch, number))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.stack(losses).isfinite().tolist())
    assert len(set(torch.stack(losses).tolist())) == len(windows)


@needs_gpu
def test_cuda_graphs_give_the_same_losses() -> None:
    results = []
    for cuda_graphs in (False, True):
        trained = module(cuda_graphs=cuda_graphs).to("cuda")
        optimizer = build_optimizer(trained.optimizer_config, trained.model)
        windows = [window(length, seed).to("cuda") for seed, length in enumerate((6, 6, 6, 4, 6, 6))]
        results.append([float(take_step(trained, optimizer, batch, seed)) for seed, batch in enumerate(windows)])
    assert results[1] == pytest.approx(results[0], rel=1e-2)


@needs_gpu
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_run_on_a_gpu_learns_averages_resumes_and_is_scored(
    cuda_graphs: bool, config: ConfigFactory, tmp_path: Path
) -> None:
    from lstm_lm.training.averaging import AveragingConfig

    batching = replace(config().batching, jitter=False)
    trainer = TrainerConfig(accelerator="gpu", precision="bf16", max_epochs=2, cuda_graphs=cuda_graphs)
    parts = {"batching": batching, "averaging": AveragingConfig("ema")}
    metrics = train(config(trainer=trainer, **parts), tmp_path / "run")
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]
    trained = read_checkpoint(tmp_path / "run/checkpoints/best.ckpt")
    ids = encode_split(trained.metadata.data, "valid", trained.vocabulary)
    evaluation = EvaluationConfig(batch_size=4)
    on_cpu = evaluate_static(trained.network, ids, trained.vocabulary, evaluation)
    on_gpu = evaluate_static(trained.network.to("cuda"), ids, trained.vocabulary, evaluation)
    assert on_gpu.loss == pytest.approx(on_cpu.loss, rel=1e-5)
    assert metrics["valid"]["loss"] == pytest.approx(on_cpu.loss, rel=1e-4)
    longer = replace(trainer, max_epochs=3)
    resume = str(tmp_path / "run/checkpoints/last.ckpt")
    resumed = train(config(trainer=longer, resume=resume, **parts), tmp_path / "resumed")
    assert resumed["history"][-1]["loss"] < metrics["history"][-1]["loss"]


@needs_gpu
def test_a_loss_that_is_not_finite_stops_a_run_on_a_gpu(config: ConfigFactory, tmp_path: Path) -> None:
    trainer = TrainerConfig(accelerator="gpu", precision="bf16", gradient_clip_val=0.0)
    with pytest.raises(TrainingError, match=r"the loss became \S+ at step \d+; lower optimizer\.lr"):
        train(config(optimizer=optimizer_config("sgd", lr=1e38, weight_decay=1e38), trainer=trainer), tmp_path)
