"""A run as a whole: repeatable, watched in TensorBoard, ended as its settings say."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import Make, assert_same_weights, interrupt_at, last_rate, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import encode_split, load_corpus
from lstm_lm.data.word_vectors import word_vectors
from lstm_lm.errors import CheckpointError, ConfigError, TrainingError, TrainingInterruptedError
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.static import evaluate_static
from lstm_lm.export.checkpoint import read_checkpoint
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.training.config import CallbacksConfig, LoggerConfig, OptimizerConfig, ScheduleConfig, TrainerConfig
from lstm_lm.training.run import train


def test_two_runs_with_one_seed_are_identical_and_another_seed_differs(config: Make, tmp_path: Path) -> None:
    first, again = train(config(), tmp_path / "a"), train(config(), tmp_path / "b")
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert [entry["loss"] for entry in first["history"]] == [entry["loss"] for entry in again["history"]]
    other = train(config(seed=2), tmp_path / "c")
    assert other["valid"]["loss"] != first["valid"]["loss"]


def test_a_preset_that_bans_a_word_that_train_has_not_is_told_before_the_training(config: Make, tmp_path: Path) -> None:
    presets = {"strict": SamplingConfig(ban_tokens=["zyzzyva"])}
    with pytest.raises(ConfigError, match=r"presets\.strict\.ban_tokens: not in the vocabulary \(got 'zyzzyva'\)"):
        train(config(presets=presets), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_plateau_counts_validations_not_epochs(config: Make, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(precision="fp32", max_epochs=1, val_check_interval=0.25)
    optimizer, schedule = OptimizerConfig("sgd", lr=1e-12), ScheduleConfig("plateau", factor=0.5, final_fraction=0.0)
    train(config(optimizer=optimizer, schedule=schedule, trainer=trainer_config), tmp_path)
    # the first validation is the best; each of the four after it halves the rate, that of the end included
    assert last_rate(tmp_path) == pytest.approx(1e-12 / 16)


def test_a_checkpoint_knows_the_places_of_its_corpus_from_any_folder(
    config: Make, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(corpus.parent))
    monkeypatch.chdir(tmp_path)
    data = DataConfig(source="text_files", dir=f"~/{corpus.name}", cache_dir="cache")
    train(config(data=data, trainer=TrainerConfig(precision="fp32", max_steps=1)), tmp_path / "run")
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt").data
    assert (saved.dir, saved.cache_dir) == (str(corpus.resolve()), str(tmp_path.resolve() / "cache"))


def test_tensorboard_gets_curves_samples_projector_and_hyperparameters(config: Make, tmp_path: Path) -> None:
    presets = {"greedy": SamplingConfig("greedy"), "lively": SamplingConfig(temperature=1.3)}
    metrics = train(
        config(
            presets=presets,
            callbacks=CallbacksConfig(sample_prompt="the old", sample_words=5, projector_words=20, progress_bar=False),
            logger=LoggerConfig(log_every_n_steps=10),
            schedule=ScheduleConfig("cosine", warmup_fraction=0.5),
        ),
        tmp_path,
    )
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = events.Tags()
    train_tags = ("loss", "perplexity", "top1", "top5", "learning_rate", "gradient_norm", "tokens_per_second")
    valid_tags = ("loss", "perplexity", "top1", "top5")
    wanted = {f"train/{tag}" for tag in train_tags} | {f"valid/{tag}" for tag in valid_tags}
    assert wanted <= set(tags["scalars"])
    for tag in wanted:
        assert all(math.isfinite(point.value) for point in events.Scalars(tag)), tag
    assert [point.step for point in events.Scalars("train/loss")] == list(range(10, metrics["steps"] + 1, 10))
    # of train there is one short window a point, and no two are equally hard
    assert events.Scalars("valid/loss")[-1].value < events.Scalars("valid/loss")[0].value
    assert events.Scalars("valid/loss")[-1].value == pytest.approx(metrics["history"][-1]["loss"])
    rates = [point.value for point in events.Scalars("train/learning_rate")]
    assert max(rates) == pytest.approx(1e-2, rel=0.1)
    assert rates[0] < max(rates) > rates[-1]
    for name in presets:
        samples = events.Tensors(f"sample/{name}/text_summary")
        assert len(samples) == len(metrics["history"])
        assert samples[0].tensor_proto.string_val[0].decode().startswith("the old ")
    words = next((tmp_path / "tensorboard").rglob("metadata.tsv")).read_text(encoding="utf-8").splitlines()
    assert len(words) == 20
    assert any("hparams" in tag for tag in tags["scalars"] + list(events.summary_metadata))


def test_curves_are_drawn_from_what_a_run_leaves(config: Make, tmp_path: Path) -> None:
    train(config(logger=LoggerConfig(log_every_n_steps=10)), tmp_path / "run")
    script, picture = Path(__file__).parents[2] / "scripts" / "plot_training.py", tmp_path / "curves.png"
    command = [sys.executable, script, tmp_path / "run", "--against", "minutes", "--out", picture]
    subprocess.run(command, check=True, timeout=120)
    assert picture.read_bytes().startswith(b"\x89PNG")
    other = subprocess.run([sys.executable, script, tmp_path], check=False, timeout=120, capture_output=True, text=True)
    assert other.returncode == 1
    assert f"error: {tmp_path} is not the folder of a finished training run" in other.stderr


def test_metrics_json_holds_what_the_run_returns(config: Make, tmp_path: Path) -> None:
    metrics = train(config(), tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["stopped_by"] == "max_epochs"
    assert metrics["valid"]["loss"] == min(entry["loss"] for entry in metrics["history"])
    assert [entry["epoch"] for entry in metrics["history"]] == pytest.approx([1.0, 2.0], abs=0.01)


def test_validations_several_times_an_epoch(config: Make, tmp_path: Path) -> None:
    metrics = train(config(trainer=TrainerConfig(precision="fp32", max_epochs=2, val_check_interval=0.25)), tmp_path)
    assert len(metrics["history"]) == 9
    assert metrics["history"][-1]["step"] == metrics["steps"]  # the windows do not divide by four


def test_steps_end_a_run_in_mid_epoch_with_a_validation_and_a_checkpoint(config: Make, tmp_path: Path) -> None:
    metrics = train(config(trainer=TrainerConfig(precision="fp32", max_steps=7)), tmp_path)
    assert (metrics["stopped_by"], metrics["steps"]) == ("max_steps", 7)
    assert [entry["step"] for entry in metrics["history"]] == [7]
    assert weights(tmp_path, "best")


def test_a_run_can_begin_with_word_vectors_and_a_resumed_one_does_not_count_again(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = config(embedding_init="cooccurrence", optimizer=OptimizerConfig("sgd", lr=1e-12))
    train(replace(still, trainer=TrainerConfig(precision="fp32", max_epochs=1)), tmp_path / "a")
    first = tmp_path / "a/checkpoints/last.ckpt"
    saved = weights(tmp_path / "a")["model.embedding.weight"]
    corpus = load_corpus(still.data)
    vectors = word_vectors(corpus.splits["train"], len(corpus.vocabulary), 16, seed=1)
    torch.testing.assert_close(saved / saved.norm(), vectors / vectors.norm(), atol=1e-6, rtol=1e-4)

    def counted_again(*_: object) -> None:
        raise AssertionError("the weights are in the checkpoint")

    monkeypatch.setattr("lstm_lm.training.run.word_vectors", counted_again)
    train(replace(still, trainer=TrainerConfig(precision="fp32", max_epochs=2), resume=str(first)), tmp_path / "b")


def test_early_stopping_ends_a_run_that_learns_nothing(config: Make, tmp_path: Path) -> None:
    callbacks = CallbacksConfig(early_stopping_patience=2, sample_words=0, projector_words=0, progress_bar=False)
    metrics = train(
        config(
            callbacks=callbacks,
            optimizer=OptimizerConfig("sgd", lr=1e-12),
            trainer=TrainerConfig(precision="fp32", max_epochs=20),
        ),
        tmp_path,
    )
    assert metrics["stopped_by"] == "early_stopping"
    assert metrics["epochs"] < 6


def test_one_window_is_learnt_by_heart_or_the_run_fails(config: Make, tmp_path: Path) -> None:
    plain = {"model": ModelConfig(32, [32]), "loss": LossConfig(), "optimizer": OptimizerConfig("adam", lr=1e-2)}
    trainer_config = TrainerConfig(precision="fp32", max_steps=300, overfit_one_batch=True)
    figures = train(config(**plain, trainer=trainer_config), tmp_path / "learnt")["overfit"]
    assert figures["last_loss"] < 0.05 * figures["first_loss"]
    assert not (tmp_path / "learnt" / "checkpoints").exists()
    assert "best_checkpoint" not in json.loads((tmp_path / "learnt" / "metrics.json").read_text())
    with pytest.raises(TrainingError, match=r"the loss went from \d\.\d+ to \d\.\d+, and must fall below 5%"):
        train(config(**plain, trainer=replace(trainer_config, max_steps=3)), tmp_path / "not")
    assert (tmp_path / "not" / "metrics.json").is_file()


def test_a_loss_that_is_not_finite_ends_the_run_with_the_remedy(config: Make, tmp_path: Path) -> None:
    trainer_config = TrainerConfig(precision="fp32", gradient_clip_val=0.0)
    with pytest.raises(TrainingError, match=r"the loss became \S+ at step \d+; lower optimizer\.lr"):
        train(config(optimizer=OptimizerConfig("sgd", lr=1e38, weight_decay=1e38), trainer=trainer_config), tmp_path)


def test_a_split_softmax_is_learnt_saved_scored_and_refused_to_another_network(config: Make, tmp_path: Path) -> None:
    model = ModelConfig(32, [32], cutoffs=[0.1, 0.4])
    split = {"model": model, "loss": LossConfig("adaptive_softmax"), "optimizer": OptimizerConfig("adam", lr=1e-2)}
    trainer_config = TrainerConfig(precision="fp32", max_steps=300, overfit_one_batch=True)
    figures = train(config(**split, trainer=trainer_config), tmp_path / "one")
    assert figures["overfit"]["last_loss"] < 0.05 * figures["overfit"]["first_loss"]
    metrics = train(config(**split), tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    trained = read_checkpoint(best)
    assert trained.model.clusters is not None
    ids = encode_split(trained.data, "valid", trained.vocabulary)
    score = evaluate_static(trained.model, ids, trained.vocabulary, EvaluationConfig(batch_size=4))
    assert score.loss == pytest.approx(metrics["valid"]["loss"], rel=1e-5)
    with pytest.raises(CheckpointError, match="trained with another model"):
        train(config(model=replace(model, cutoffs=[]), resume=str(best)), tmp_path / "other")


def test_bfloat16_learns_too(config: Make, tmp_path: Path) -> None:
    # 7 columns do not divide the words of valid, so that some of its windows have a mask
    batching = replace(config().batching, eval_batch_size=7)
    trainer = TrainerConfig(precision="bf16", max_epochs=2)
    # with event files, samples and projector, as every run has them by default
    parts = {"batching": batching, "callbacks": CallbacksConfig(progress_bar=False), "logger": LoggerConfig()}
    metrics = train(config(trainer=trainer, **parts), tmp_path)
    assert metrics["precision"] == "bf16"
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]
    # scored in float32, as lstm-lm eval does
    trained = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    ids = encode_split(trained.data, "valid", trained.vocabulary)
    score = evaluate_static(trained.model, ids, trained.vocabulary, EvaluationConfig(batch_size=7))
    assert metrics["valid"]["loss"] == pytest.approx(score.loss, rel=1e-5)


def test_a_score_in_a_checkpoint_is_that_of_its_weights(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(60, monkeypatch)  # in the second epoch, some steps after the validation of the first
    with pytest.raises(TrainingInterruptedError) as interrupted:
        train(config(), tmp_path)
    assert read_checkpoint(interrupted.value.checkpoint).metrics == {}
    assert read_checkpoint(tmp_path / "checkpoints" / "best.ckpt").metrics["valid"]["loss"] > 0.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_said_in_one_line(config: Make, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"trainer\.accelerator=gpu with trainer\.devices=1 .*set trainer=cpu"):
        train(config(trainer=TrainerConfig(accelerator="gpu", precision="fp32")), tmp_path)
