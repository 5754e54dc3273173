"""Whole runs: reproducibility, TensorBoard, metrics, stopping criteria and errors."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.small_runs import (
    EARLY_STOPPING,
    TENSORBOARD,
    ConfigFactory,
    assert_same_weights,
    interrupt_at,
    last_rate,
    needs_bf16,
    optimizer_config,
    schedule_config,
    weights,
)
from helpers.waiting import DEADLINE

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import encode_split, load_corpus
from lstm_lm.data.word_vectors import word_vectors
from lstm_lm.errors import CheckpointError, ConfigError, TrainingError, TrainingInterruptedError
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.score import ScoreMetric
from lstm_lm.evaluation.static import evaluate_static
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.training.callbacks.displays import ProgressBar
from lstm_lm.training.callbacks.time_budget import TimeBudget
from lstm_lm.training.callbacks.training_metrics import TrainingMetrics
from lstm_lm.training.config import NO_EPOCH_LIMIT, TrainerConfig
from lstm_lm.training.resume import run_record
from lstm_lm.training.run import train


def test_same_seed_gives_identical_runs_and_another_seed_differs(config: ConfigFactory, tmp_path: Path) -> None:
    first, again = train(config(), tmp_path / "a"), train(config(), tmp_path / "b")
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert [entry["loss"] for entry in first["history"]] == [entry["loss"] for entry in again["history"]]
    other = train(config(seed=2), tmp_path / "c")
    assert other["valid"]["loss"] != first["valid"]["loss"]


def test_preset_with_an_unknown_banned_word_is_rejected_before_training(config: ConfigFactory, tmp_path: Path) -> None:
    presets = {"strict": SamplingConfig(ban_tokens=["zyzzyva"])}
    with pytest.raises(ConfigError, match=r"presets\.strict\.ban_tokens: not in the vocabulary \(got 'zyzzyva'\)"):
        train(config(presets=presets), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_plateau_counts_validations_not_epochs(config: ConfigFactory, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(precision="fp32", max_epochs=1, val_check_interval=0.25)
    optimizer, schedule = optimizer_config("sgd", lr=1e-12), schedule_config("plateau", factor=0.5, final_fraction=0.0)
    train(config(optimizer=optimizer, schedule=schedule, trainer=trainer_config), tmp_path)
    # the first validation is the best; each of the three others, including the last, halves the rate
    assert last_rate(tmp_path) == pytest.approx(1e-12 / 8)


def test_checkpoint_stores_absolute_corpus_paths(
    config: ConfigFactory, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(corpus.parent))
    monkeypatch.chdir(tmp_path)
    data = DataConfig(source="text_files", dir=f"~/{corpus.name}", cache_dir="cache")
    train(config(data=data, trainer=TrainerConfig(precision="fp32", max_steps=1)), tmp_path / "run")
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt").metadata.data
    assert (saved.dir, saved.cache_dir) == (str(corpus.resolve()), str(tmp_path.resolve() / "cache"))


def test_plot_training_draws_a_run(config: ConfigFactory, tmp_path: Path) -> None:
    trainer = TrainerConfig(precision="fp32", max_epochs=2, log_every_n_steps=10)
    train(config(logger=TENSORBOARD, trainer=trainer), tmp_path / "run")
    script, plot = Path(__file__).parents[2] / "scripts" / "plot_training.py", tmp_path / "curves.png"
    command = [sys.executable, script]
    subprocess.run([*command, tmp_path / "run", "--against", "minutes", "--out", plot], check=True, timeout=DEADLINE)
    assert plot.read_bytes().startswith(b"\x89PNG")
    failed = subprocess.run([*command, tmp_path], check=False, timeout=DEADLINE, capture_output=True, text=True)
    assert failed.returncode == 1
    assert f"error: {tmp_path} is not the folder of a finished training run" in failed.stderr


def test_output_to_a_file_has_a_line_at_the_start_and_at_each_validation(
    config: ConfigFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callbacks = {"progress_bar": {"_target_": "lstm_lm.training.callbacks.displays.progress_display"}}
    metrics = train(config(callbacks=callbacks), tmp_path)
    start, *validations = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"training: \d+ windows per epoch", start)
    assert [line.partition(":")[2] for line in validations] == [
        f" valid perplexity {entry['perplexity']:.2f}" for entry in metrics["history"]
    ]


def test_progress_bar_counts_epochs_from_one() -> None:
    budget = TimeBudget(None)
    bar = ProgressBar(TrainingMetrics(budget, 10))
    bar._trainer = SimpleNamespace(max_epochs=3)  # type: ignore[assignment]
    assert bar._get_train_description(0) == "Epoch 1/3 "
    bar._trainer = SimpleNamespace(max_epochs=NO_EPOCH_LIMIT)  # type: ignore[assignment]
    assert bar._get_train_description(2) == "Epoch 3 "


def test_validation_of_some_windows_is_not_exact(config: ConfigFactory, tmp_path: Path) -> None:
    trainer = TrainerConfig(precision="fp32", max_steps=3)
    assert train(config(trainer=trainer), tmp_path / "all")["valid"]["exact"] is True
    metrics = train(config(trainer=replace(trainer, limit_val_batches=2)), tmp_path / "some")
    assert (metrics["valid"]["exact"], metrics["history"][0]["exact"]) == (False, False)
    assert metrics["valid"]["tokens"] == 2 * 4 * 30


def test_infinite_perplexity_fails_the_run(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = ScoreMetric.score
    monkeypatch.setattr(ScoreMetric, "score", lambda self: replace(score(self), loss=800.0, perplexity=math.inf))
    with pytest.raises(TrainingError, match=r"the valid perplexity became inf at step \d+ \(loss 800\); lower"):
        train(config(), tmp_path)
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_metrics_json_equals_the_returned_metrics(config: ConfigFactory, tmp_path: Path) -> None:
    metrics = train(config(), tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["stopped_by"] == "max_epochs"
    assert metrics["valid"]["loss"] == min(entry["loss"] for entry in metrics["history"])
    assert [entry["epoch"] for entry in metrics["history"]] == pytest.approx([1.0, 2.0], abs=0.01)


def test_versions_are_recorded_and_not_compared_between_processes(config: ConfigFactory, tmp_path: Path) -> None:
    chosen = config(trainer=TrainerConfig(max_steps=1, precision="fp32"))
    metrics = train(chosen, tmp_path)
    run = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt").metadata.run
    assert run["versions"] == metrics["versions"]
    # machines of one run may have different processors
    assert run.keys() >= run_record(chosen, "fp32", load_corpus(chosen.data), 1, sparse_gradient=False).keys()
    assert "versions" not in run_record(chosen, "fp32", load_corpus(chosen.data), 1, sparse_gradient=False)


def test_several_validations_per_epoch(config: ConfigFactory, tmp_path: Path) -> None:
    metrics = train(config(trainer=TrainerConfig(precision="fp32", max_epochs=2, val_check_interval=0.25)), tmp_path)
    # of 31 windows per epoch; the one after step 59 would be three steps before the last one
    assert [entry["step"] for entry in metrics["history"]] == [7, 14, 21, 28, 38, 45, 52, 62]


def test_max_steps_ends_a_run_with_a_validation_and_a_checkpoint(config: ConfigFactory, tmp_path: Path) -> None:
    metrics = train(config(trainer=TrainerConfig(precision="fp32", max_steps=7)), tmp_path)
    assert (metrics["stopped_by"], metrics["steps"]) == ("max_steps", 7)
    assert [entry["step"] for entry in metrics["history"]] == [7]
    assert weights(tmp_path, "best")


def test_embedding_init_applies_to_a_new_run_only(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = config(embedding_init="cooccurrence", optimizer=optimizer_config("sgd", lr=1e-12))
    train(replace(frozen, trainer=TrainerConfig(precision="fp32", max_epochs=1)), tmp_path / "a")
    first = tmp_path / "a/checkpoints/last.ckpt"
    saved = weights(tmp_path / "a")["model.embedding.weight"]
    corpus = load_corpus(frozen.data)
    vectors = word_vectors(corpus.splits["train"], len(corpus.vocabulary), 16, seed=1)
    torch.testing.assert_close(saved / saved.norm(), vectors / vectors.norm(), atol=1e-6, rtol=1e-4)

    def must_not_run(*_: object) -> None:
        raise AssertionError("a resumed run takes its weights from the checkpoint")

    monkeypatch.setattr("lstm_lm.training.initialization.word_vectors", must_not_run)
    train(replace(frozen, trainer=TrainerConfig(precision="fp32", max_epochs=2), resume=str(first)), tmp_path / "b")


def test_early_stopping_ends_a_run_without_improvement(config: ConfigFactory, tmp_path: Path) -> None:
    callbacks = {"early_stopping": EARLY_STOPPING | {"patience": 2}}
    metrics = train(
        config(
            callbacks=callbacks,
            optimizer=optimizer_config("sgd", lr=1e-12),
            trainer=TrainerConfig(precision="fp32", max_epochs=20),
        ),
        tmp_path,
    )
    assert metrics["stopped_by"] == "early_stopping"
    assert metrics["epochs"] < 6


def test_run_fails_unless_it_overfits_one_window(config: ConfigFactory, tmp_path: Path) -> None:
    plain = {"model": ModelConfig(32, [32]), "loss": LossConfig(), "optimizer": optimizer_config("adam", lr=1e-2)}
    trainer_config = TrainerConfig(precision="fp32", max_steps=300, overfit_one_batch=True)
    overfit = train(config(**plain, trainer=trainer_config), tmp_path / "overfit")["overfit"]
    assert overfit["last_loss"] < 0.05 * overfit["first_loss"]
    assert not (tmp_path / "overfit" / "checkpoints").exists()
    assert "best_checkpoint" not in json.loads((tmp_path / "overfit" / "metrics.json").read_text())
    with pytest.raises(TrainingError, match=r"the loss went from \d\.\d+ to \d\.\d+ and must end below 5%"):
        train(config(**plain, trainer=replace(trainer_config, max_steps=3)), tmp_path / "too_short")
    assert (tmp_path / "too_short" / "metrics.json").is_file()


def test_non_finite_loss_ends_the_run_with_a_remedy(config: ConfigFactory, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(precision="fp32", gradient_clip_val=0.0)
    with pytest.raises(TrainingError, match=r"the loss became \S+ at step \d+; lower optimizer\.lr"):
        train(config(optimizer=optimizer_config("sgd", lr=1e38, weight_decay=1e38), trainer=trainer_config), tmp_path)


def test_adaptive_softmax_trains_scores_and_resumes_with_its_cutoffs(config: ConfigFactory, tmp_path: Path) -> None:
    model = ModelConfig(32, [32], cutoffs=[0.1, 0.4])
    adaptive = {"model": model, "loss": LossConfig("adaptive_softmax"), "optimizer": optimizer_config("adam", lr=1e-2)}
    trainer_config = TrainerConfig(precision="fp32", max_steps=300, overfit_one_batch=True)
    overfit = train(config(**adaptive, trainer=trainer_config), tmp_path / "one")["overfit"]
    assert overfit["last_loss"] < 0.05 * overfit["first_loss"]
    metrics = train(config(**adaptive), tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    trained = read_checkpoint(best)
    assert trained.network.clusters is not None
    ids = encode_split(trained.metadata.data, "valid", trained.vocabulary)
    score = evaluate_static(trained.network, ids, trained.vocabulary, EvaluationConfig(batch_size=4))
    assert score.loss == pytest.approx(metrics["valid"]["loss"], rel=1e-5)
    with pytest.raises(CheckpointError, match="trained with a different model"):
        train(config(model=replace(model, cutoffs=[]), resume=str(best)), tmp_path / "other")


@needs_bf16
def test_bfloat16_run_trains_and_scores_in_float32(config: ConfigFactory, tmp_path: Path) -> None:
    # 7 columns do not divide the valid split, so some windows have a mask
    batching = replace(config().batching, eval_batch_size=7)
    trainer = TrainerConfig(precision="bf16", max_epochs=2)
    path = "lstm_lm.training.callbacks"
    callbacks = {
        "text_samples": {"_target_": f"{path}.text_samples.TextSamples"},
        "embedding_projector": {"_target_": f"{path}.embedding_projector.EmbeddingProjector"},
    }
    overrides = {"batching": batching, "callbacks": callbacks, "logger": TENSORBOARD}
    metrics = train(config(trainer=trainer, **overrides), tmp_path)
    assert metrics["precision"] == "bf16"
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]
    # scored in float32, as lstm-lm eval does
    trained = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    ids = encode_split(trained.metadata.data, "valid", trained.vocabulary)
    score = evaluate_static(trained.network, ids, trained.vocabulary, EvaluationConfig(batch_size=7))
    assert metrics["valid"]["loss"] == pytest.approx(score.loss, rel=1e-5)


def test_checkpoint_has_a_score_only_for_its_own_weights(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(60, monkeypatch)  # in the second epoch, after the validation of the first
    with pytest.raises(TrainingInterruptedError) as interrupted:
        train(config(), tmp_path)
    assert read_checkpoint(interrupted.value.checkpoint).metadata.metrics == {}
    assert read_checkpoint(tmp_path / "checkpoints" / "best.ckpt").metadata.metrics["valid"]["loss"] > 0.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device_is_reported_with_a_remedy(config: ConfigFactory, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"trainer\.accelerator=gpu with trainer\.devices=1: .*set trainer=cpu"):
        train(config(trainer=TrainerConfig(accelerator="gpu", precision="fp32")), tmp_path)
