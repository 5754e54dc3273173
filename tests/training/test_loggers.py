"""What the loggers of a run get: TensorBoard's event files read back, CSV, W&B and MLflow offline."""

import csv
import importlib.util
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small_runs import (
    TENSORBOARD,
    ConfigFactory,
    interrupt_at,
    interrupt_validation,
    optimizer_config,
    schedule_config,
)
from tensorboard.backend import application
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.util.tensor_util import make_ndarray
from werkzeug.test import Client

from lstm_lm.errors import TrainingInterruptedError
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.config import LossConfig
from lstm_lm.serialization import flatten
from lstm_lm.training.callbacks.run_summary import hyperparameters
from lstm_lm.training.config import TrainConfig, TrainerConfig
from lstm_lm.training.loggers import overview
from lstm_lm.training.run import train

PRESETS = {"greedy": SamplingConfig("greedy"), "lively": SamplingConfig(temperature=1.3)}
CALLBACKS = {
    "text_samples": {
        "_target_": "lstm_lm.training.callbacks.text_samples.TextSamples",
        "prompt": "the old",
        "num_words": 5,
    },
    "embedding_projector": {
        "_target_": "lstm_lm.training.callbacks.embedding_projector.EmbeddingProjector",
        "num_words": 20,
    },
}
TRAINER = TrainerConfig(precision="fp32", max_epochs=2, log_every_n_steps=10)


def events(run_dir: Path) -> EventAccumulator:
    (folder,) = (run_dir / "tensorboard").iterdir()
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def steps(run_dir: Path, tag: str) -> list[int]:
    return [point.step for point in events(run_dir).Tensors(tag)]


def values(run_dir: Path, tag: str) -> list[float]:
    return [float(make_ndarray(point.tensor_proto)) for point in events(run_dir).Tensors(tag)]


def test_tensorboard_gets_metrics_samples_and_embeddings(config: ConfigFactory, tmp_path: Path) -> None:
    metrics = train(
        config(
            presets=PRESETS,
            callbacks=CALLBACKS,
            logger=TENSORBOARD,
            trainer=TRAINER,
            schedule=schedule_config("cosine", warmup_fraction=0.5),
        ),
        tmp_path,
        name="mine,seed=3",
    )
    assert [folder.name for folder in (tmp_path / "tensorboard").iterdir()] == ["mine,seed=3"]
    read = events(tmp_path)
    train_tags = ("loss", "perplexity", "top1", "top5", "learning_rate", "gradient_norm", "tokens_per_second")
    valid_tags = ("loss", "perplexity", "top1", "top5")
    expected_tags = {f"train/{tag}" for tag in train_tags} | {f"valid/{tag}" for tag in valid_tags}
    assert expected_tags <= set(read.Tags()["tensors"])
    for tag in expected_tags:
        assert all(map(math.isfinite, values(tmp_path, tag))), tag
    assert steps(tmp_path, "train/loss") == [*range(10, metrics["steps"], 10), metrics["steps"]]
    # a validation stands at the step after which it was made, the final metrics at the last one
    assert steps(tmp_path, "valid/loss") == [entry["step"] for entry in metrics["history"]]
    assert steps(tmp_path, "whole_run/valid_perplexity") == [metrics["steps"]]
    assert values(tmp_path, "whole_run/valid_perplexity") == pytest.approx([metrics["valid"]["perplexity"]])
    # not train/loss: each of its points is one short window, some harder than others
    losses = values(tmp_path, "valid/loss")
    assert losses[-1] < losses[0]
    assert losses == pytest.approx([entry["loss"] for entry in metrics["history"]])
    rates = values(tmp_path, "train/learning_rate")
    assert max(rates) == pytest.approx(1e-2, rel=0.1)
    assert rates[0] < max(rates) > rates[-1]
    for name in PRESETS:
        samples = read.Tensors(f"sample/{name}/text_summary")
        assert [sample.step for sample in samples] == [entry["step"] for entry in metrics["history"]]
        assert samples[0].tensor_proto.string_val[0].decode().startswith("the old ")
    words = next((tmp_path / "tensorboard").rglob("metadata.tsv")).read_text(encoding="utf-8").splitlines()
    assert len(words) == 20
    assert any("hparams" in tag for tag in read.summary_metadata)
    saved = yaml.safe_load(next((tmp_path / "tensorboard").rglob("hparams.yaml")).read_text(encoding="utf-8"))
    assert saved["optimizer"] == {"_target_": "torch.optim.AdamW", "weight_decay": 0.0, "lr": 1e-2}


def test_tensorboard_shows_an_overview_of_runs_with_and_without_a_null(config: ConfigFactory, tmp_path: Path) -> None:
    trainers = (TRAINER, TrainerConfig(precision="fp32", max_epochs=1, reference_epochs=2.0))
    for number, trainer in enumerate(trainers):
        hydra = tmp_path / str(number) / ".hydra"
        hydra.mkdir(parents=True)
        (hydra / "overrides.yaml").write_text(f"- trainer.reference_epochs={trainer.reference_epochs}\n")
        train(config(logger=TENSORBOARD, trainer=trainer, presets=PRESETS), tmp_path / str(number))
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    context = base_plugin.TBContext(
        data_provider=MultiplexerDataProvider(multiplexer, str(tmp_path)), multiplexer=multiplexer
    )
    client = Client(application.TensorBoardWSGI([HParamsPlugin(context)]))
    response = client.post("/data/plugin/hparams/experiment", json={"experimentName": ""})
    assert response.status_code == 200, response.text
    experiment = json.loads(response.text)
    assert "whole_run/valid_perplexity" in [info["name"]["tag"] for info in experiment["metricInfos"]]
    columns = [info["name"] for info in experiment["hparamInfos"]]
    assert "trainer.reference_epochs" in columns
    assert not [name for name in columns if name.startswith(("presets.", "sampling.", "logger."))]
    sessions = client.post(
        "/data/plugin/hparams/session_groups",
        json={
            "startIndex": 0,
            "sliceSize": 10,
            "allowedStatuses": ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_RUNNING"],
            "colParams": [{"hparam": "trainer.reference_epochs", "order": "ORDER_ASC"}],
        },
    )
    assert sessions.status_code == 200, sessions.text
    assert len(json.loads(sessions.text)["sessionGroups"]) == 2


@pytest.mark.parametrize("saved", ["in a step", "before a validation"])
def test_after_a_kill_and_a_resume_in_place_every_step_stands_once(
    saved: str, config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"logger": TENSORBOARD, "callbacks": CALLBACKS, "presets": PRESETS}
    trainer = TrainerConfig(precision="fp32", max_epochs=2, log_every_n_steps=1)
    whole = train(config(trainer=trainer, **settings), tmp_path / "whole")
    with monkeypatch.context() as patch:
        if saved == "in a step":
            interrupt_at(17, patch)
        else:
            interrupt_validation(1, 15, patch)
        with pytest.raises(TrainingInterruptedError) as interrupted:
            train(config(trainer=trainer, **settings), tmp_path / "run")
    checkpoint = interrupted.value.checkpoint.read_bytes()
    # what a killed process leaves: points after its last checkpoint
    train(config(trainer=trainer, resume=str(interrupted.value.checkpoint), **settings), tmp_path / "run")
    for file in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        file.unlink()
    interrupted.value.checkpoint.write_bytes(checkpoint)
    train(config(trainer=trainer, resume=str(interrupted.value.checkpoint), **settings), tmp_path / "run")
    for tag in ("valid/loss", "whole_run/valid_perplexity"):
        assert steps(tmp_path / "run", tag)[-2:] == steps(tmp_path / "whole", tag)[-2:]
    logged = steps(tmp_path / "run", "train/loss")
    assert len(logged) == len(set(logged))
    # the point of the interrupted step, or of the step before the repeated validation
    assert len(set(range(1, whole["steps"] + 1)) - set(logged)) == 1
    validated = [entry["step"] for entry in whole["history"]]
    assert steps(tmp_path / "run", "valid/loss") == validated
    samples = events(tmp_path / "run").Tensors("sample/greedy/text_summary")
    assert [sample.step for sample in samples] == validated


def test_an_interrupted_run_has_hyperparameters_and_final_metrics(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loggers = TENSORBOARD | {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "name": "csv"}}
    interrupt_at(60, monkeypatch)
    with pytest.raises(TrainingInterruptedError):
        train(config(logger=loggers, trainer=TRAINER), tmp_path)
    assert steps(tmp_path, "whole_run/valid_perplexity") == [61]
    folder = tmp_path / "csv" / "version_0"
    assert yaml.safe_load((folder / "hparams.yaml").read_text(encoding="utf-8"))["seed"] == 1
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [10, 20, 30, 40, 50, 60]
    assert [row["whole_run/valid_perplexity"] != "" for row in rows][-1]


def test_samples_are_in_the_metrics_if_no_logger_shows_text(config: ConfigFactory, tmp_path: Path) -> None:
    loggers = {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "name": "csv"}}
    metrics = train(config(logger=loggers, callbacks=CALLBACKS, presets=PRESETS, trainer=TRAINER), tmp_path)
    assert list(metrics["samples"]["texts"]) == list(PRESETS)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed: pip install wandb")
def test_wandb_offline_gets_scalars_texts_and_settings(
    config: ConfigFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    node = {"_target_": "lightning.pytorch.loggers.WandbLogger", "project": "lstm_lm", "mode": "offline"}
    settings = {"callbacks": CALLBACKS, "presets": PRESETS, "trainer": TRAINER}
    metrics = train(config(logger={"wandb": node}, **settings), tmp_path, name="mine")
    records = wandb_records(tmp_path)
    history = [dict(item) for item in records["history"]]
    points = [item["trainer/global_step"] for item in history if "valid/perplexity" in item]
    assert points == [entry["step"] for entry in metrics["history"]]
    assert any(name.startswith("sample/greedy") for item in history for name in item)
    assert records["config"]["optimizer"]["lr"] == 1e-2
    assert records["config"]["trainer"]["max_epochs"] == 2
    final = next(item for item in history if "whole_run/valid_perplexity" in item)
    assert final["trainer/global_step"] == metrics["steps"]
    # the next run of the process is another one
    train(config(logger={"wandb": node}, trainer=TRAINER), tmp_path / "second", name="second")
    assert len(list(tmp_path.rglob("*.wandb"))) == 2


def wandb_records(run_dir: Path) -> dict[str, Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = run_dir.rglob("*.wandb")
    records: dict[str, Any] = {"history": [], "config": {}}
    for data in wandb_messages(file.read_bytes()):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            records["history"].append(items)
        for update in record.config.update if kind == "config" else ():
            records["config"][update.key or update.nested_key[0]] = json.loads(update.value_json)
        if kind == "run":
            records["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    return records


def wandb_messages(content: bytes) -> Iterator[bytes]:
    """The records of an offline run: LevelDB's log format after a header of 7 bytes, in blocks of 32 KiB."""
    position, parts = 7, []
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed: pip install mlflow")
def test_mlflow_on_a_local_database_gets_scalars_texts_and_settings(config: ConfigFactory, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    node = {
        "_target_": "lightning.pytorch.loggers.MLFlowLogger",
        "tracking_uri": uri,
        "artifact_location": str(tmp_path / "artifacts"),
    }
    settings = {"callbacks": CALLBACKS, "presets": PRESETS, "trainer": TRAINER}
    metrics = train(config(logger={"mlflow": node}, **settings), tmp_path / "run", name="mine")
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("lightning_logs").experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "valid/perplexity")
    assert [point.step for point in history] == [entry["step"] for entry in metrics["history"]]
    assert run.data.metrics["whole_run/valid_perplexity"] == pytest.approx(metrics["valid"]["perplexity"])
    assert run.data.params["optimizer/lr"] == "0.01"
    assert not [name for name in run.data.params if name.startswith("presets")]
    assert len(client.list_artifacts(run.info.run_id, "sample/greedy")) == len(metrics["history"])


def test_a_missing_package_is_reported_with_the_remedy(config: ConfigFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    node = {"_target_": "lightning.pytorch.loggers.WandbLogger"}
    (problem,) = config(logger={"wandb": node}).problems()
    assert problem == "logger.wandb: the package wandb is not installed; run pip install 'lstm-lm[wandb]'"


def test_the_overview_of_tensorboard_is_short_and_has_what_was_overridden() -> None:
    config = TrainConfig(optimizer=optimizer_config("sgd", lr=1.0), seed=7, loss=LossConfig(num_sampled=77))
    settings = flatten(hyperparameters(config))
    assert len(settings) > 50
    names = list(overview(settings, ["trainer.gradient_clip_val", "data.dir", "optimizer", "no.such"]))
    assert names[0] == "trainer.gradient_clip_val"
    assert {"seed", "optimizer.lr", "model.input_dropout", "loss.num_sampled"} <= set(names)
    assert "data.dir" not in names
    assert len(names) <= 25
    assert len(overview({f"a.{index}": index for index in range(60)}, [f"a.{index}" for index in range(60)])) == 25


def test_hyperparameters_leave_out_the_sampling_presets() -> None:
    assert {"presets", "sampling", "logger", "resume"}.isdisjoint(hyperparameters(TrainConfig(presets=PRESETS)))
