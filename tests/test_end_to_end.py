"""The whole workflow with the commands, from train to serve, and resuming after an interrupt.

Each command runs once as a user starts it; the others begin with torch imported.
"""

import json
import math
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import preloaded
from helpers.real_commands import count_tokens, lstm_lm, run, served, write_corpus
from helpers.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow

SMALL = (
    "data=text_files",
    "data.dir=corpus",
    "model=tiny",
    "batching.batch_size=4",
    "batching.bptt_length=10",
    "optimizer.lr=1e-2",
    "trainer.precision=fp32",
    "callbacks=quiet",
)


CHECKPOINT = "checkpoint=run/checkpoints/best.ckpt"


@dataclass(frozen=True)
class Project:
    """A user's folder with a corpus and a finished run, and the output of its training."""

    folder: Path
    train_output: str

    def json(self, path: str) -> dict[str, Any]:
        return json.loads((self.folder / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("a project")
    write_corpus(folder / "corpus")
    return Project(folder, run("train", *SMALL, "trainer.max_epochs=2", "hydra.run.dir=run", cwd=folder).stdout)


@pytest.fixture(scope="module")
def scored(project: Project) -> str:
    """The output of eval."""
    return run("eval", CHECKPOINT, "split=test", "hydra.run.dir=scored", cwd=project.folder).stdout


@pytest.fixture(scope="module")
def bundle(project: Project) -> str:
    """The folder that export wrote."""
    done = run("export", CHECKPOINT, "out=bundle", "hydra.run.dir=exporting", cwd=project.folder)
    assert "bundle" in done.stdout
    return "bundle"


def test_run_folder_is_complete(project: Project) -> None:
    metrics = project.json("run/metrics.json")
    assert metrics["stopped_by"] == "max_epochs"
    assert metrics["valid"]["perplexity"] == pytest.approx(math.exp(metrics["valid"]["loss"]))
    # a uniform guess is 36; the grammar leaves about 5 choices at every third word
    assert metrics["valid"]["perplexity"] < 8
    assert [entry["epoch"] for entry in metrics["history"]] == sorted(entry["epoch"] for entry in metrics["history"])
    run_folder = project.folder / "run"
    assert (run_folder / ".hydra" / "overrides.yaml").is_file()
    assert (run_folder / "train.log").stat().st_size > 0
    assert {file.name for file in (run_folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert any((run_folder / "tensorboard").rglob("events.out.tfevents.*"))
    assert f"{metrics['valid']['perplexity']:.2f}" in project.train_output
    assert "lstm-lm eval checkpoint=run/checkpoints/best.ckpt" in project.train_output


def test_score_counts_every_token_of_the_split(project: Project, scored: str) -> None:
    score = project.json("scored/metrics.json")
    assert score["tokens"] == count_tokens(project.folder / "corpus" / "test.txt")
    assert (score["split"], score["evaluation"]) == ("test", "static")
    assert score["perplexity"] == pytest.approx(math.exp(score["loss"]))
    assert score["perplexity"] < 8
    assert 0 < score["top1"] <= score["top3"] <= score["top5"] <= 1
    assert 0 < score["words"]["tokens"] < score["tokens"]
    assert score["unk_rate"] == 0
    assert f"{score['perplexity']:.2f}" in scored


def test_bundle_scores_like_its_checkpoint(project: Project, scored: str, bundle: str) -> None:
    preloaded.run(
        "eval",
        f"checkpoint={bundle}",
        "data=text_files",
        "data.dir=corpus",
        "hydra.run.dir=bundle_scored",
        "evaluation.window_length=7",
        cwd=project.folder,
    )
    score, of_bundle = project.json("scored/metrics.json"), project.json("bundle_scored/metrics.json")
    assert of_bundle["tokens"] == score["tokens"]
    assert of_bundle["loss"] == pytest.approx(score["loss"], abs=1e-5)
    assert of_bundle["words"]["tokens"] == score["words"]["tokens"]


def test_bundle_contains_no_local_path(project: Project, bundle: str) -> None:
    names = {file.name for file in (project.folder / bundle).iterdir()}
    assert {"manifest.json", "model.safetensors", "vocabulary.json", "README.md"} <= names
    manifest = project.json(f"{bundle}/manifest.json")
    assert str(project.folder) not in json.dumps(manifest), "the manifest contains a local path"


def test_predict_from_checkpoint_and_bundle_agree(project: Project, bundle: str) -> None:
    predictions = []
    for model in (bundle, "run/checkpoints/best.ckpt"):
        done = preloaded.run("predict", "--model", model, "--text", "the old", "--k", "5", "--json", cwd=project.folder)
        predictions.append([(s["word"], s["probability"]) for s in json.loads(done.stdout)["suggestions"]])
    of_bundle, of_checkpoint = predictions
    assert of_bundle[0][0] == "dog"
    assert len(of_bundle) == 5
    assert sum(probability for _, probability in of_bundle) <= 1.0
    # the bundle runs in int8, which can change the ranks of improbable words
    for word, probability in of_bundle:
        assert probability == pytest.approx(dict(of_checkpoint).get(word, 0.0), abs=0.01)


def test_generate_is_repeatable_with_a_seed(project: Project, bundle: str) -> None:
    command = (
        "generate",
        "--model",
        bundle,
        "--text",
        "The zebra didn't like",
        "--generate",
        "30",
        "--preset",
        "balanced",
    )
    command += ("--strategy", "sample", "--temperature", "0.9", "--topk", "50", "--seed", "7", "--ban-unk")
    command += ("--ban-tokens", "river,=", "--repeat-penalty", "1.2", "--repeat-window", "80", "--json")
    first, second = (json.loads(preloaded.run(*command, cwd=project.folder).stdout) for _ in range(2))
    assert first == second
    assert first["text"].startswith("The zebra didn't like")
    assert len(first["words"]) == 30
    assert not {"river", "=", "<unk>"} & set(first["words"])
    assert "@-@" not in first["text"]
    assert first["unknown_words"] == ["zebra"]


def test_service_over_http(project: Project, bundle: str) -> None:
    done = run("predict", "--model", bundle, "--text", "the old", "--k", "3", "--json", cwd=project.folder)
    expected = json.loads(done.stdout)["suggestions"]
    with served(lstm_lm("serve", "--model", bundle, "--port", "0"), project.folder) as client:
        assert client.get("/health").status_code == 200
        suggestions = client.post("/predict", json={"text": "the old", "k": 3}).json()["suggestions"]
        assert [s["word"] for s in suggestions] == [s["word"] for s in expected]
        body = {"text": "the farmer", "generate": 12, "strategy": "sample", "temperature": 0.9, "topk": 20, "seed": 7}
        body |= {"ban_unk": True, "ban_tokens": ["river"], "repeat_penalty": 1.2, "repeat_window": 80, "stop_eos": True}
        responses = [client.post("/generate", json=body) for _ in range(2)]
        assert [response.status_code for response in responses] == [200, 200]
        assert responses[0].json() == responses[1].json()
        assert responses[0].json()["text"].startswith("the farmer")
        assert client.get("/docs").status_code == 200
        assert client.post("/predict", json={"text": "the old", "k": -1}).status_code == 422
        assert client.post("/predict", content=b"{").status_code in (400, 415, 422)


def test_uvicorn_serves_the_bundle_from_the_environment(project: Project, bundle: str) -> None:
    uvicorn = [lstm_lm()[0], "-m", "uvicorn", "--factory", "lstm_lm.serving:create_app", "--port", "0"]
    uvicorn += ["--http", "lstm_lm.serving.http_protocol:BoundedHttpTools"]
    with served(uvicorn, project.folder, {"LSTM_LM_BUNDLE": bundle}) as client:
        response = client.post("/predict", json={"text": "the old", "k": 1}).json()
        assert response["suggestions"][0]["word"] == "dog"


def test_same_seed_gives_the_same_losses(project: Project) -> None:
    preloaded.run("train", *SMALL, "trainer.max_epochs=2", "hydra.run.dir=twin", cwd=project.folder)
    assert _losses(project, "twin") == _losses(project, "run")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_resumed_run_equals_an_uninterrupted_one(project: Project, stop: signal.Signals) -> None:
    """A run that is interrupted at a random step and resumed reaches the losses of an uninterrupted run."""
    name = stop.name.lower()
    overrides = (*SMALL, "batching.jitter=true", "batching.random_offset=true", "model.output_dropout=0.2")
    command = preloaded.command("train", *overrides, "trainer.max_epochs=1000000", f"hydra.run.dir={name}")
    last = project.folder / name / "checkpoints" / "last.ckpt"
    with (project.folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(command, cwd=project.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            wait_until(lambda: last.is_file() or process.poll() is not None)
            assert last.is_file(), (project.folder / f"{name}.out").read_text()
            time.sleep(0.3)
            process.send_signal(stop)
            assert process.wait(DEADLINE) == 128 + stop, (project.folder / f"{name}.out").read_text()
        finally:
            process.kill()
    assert (
        f"continue with lstm-lm train 'resume={project.folder / name}'" in (project.folder / f"{name}.out").read_text()
    )

    done = torch.load(last, weights_only=True)["global_step"]
    # an epoch is about 165 steps: at least one validation is ahead
    end = f"trainer.max_steps={done + 200}"
    preloaded.run(
        "train",
        *overrides,
        end,
        f"resume={name}/checkpoints/last.ckpt",
        f"hydra.run.dir={name}_resumed",
        cwd=project.folder,
    )
    preloaded.run("train", *overrides, end, f"hydra.run.dir={name}_uninterrupted", cwd=project.folder)
    resumed, uninterrupted = _losses(project, f"{name}_resumed"), _losses(project, f"{name}_uninterrupted")
    assert resumed, "the resumed run has no validation"
    for step, loss in resumed.items():
        assert loss == pytest.approx(uninterrupted[step], abs=1e-6)
    preloaded.run(
        "eval", f"checkpoint={name}/checkpoints/last.ckpt", f"hydra.run.dir={name}_scored", cwd=project.folder
    )


def test_user_error_has_no_traceback_and_exit_status_1(project: Project) -> None:
    for arguments, word in (
        (("train", "model=smal"), "small"),
        (("train", *SMALL, "optimizer.lrr=1"), "lr"),
        (("eval", "checkpoint=nowhere.ckpt"), "nowhere.ckpt"),
        (("export", "checkpoint=corpus/train.txt", "out=x"), "train.txt"),
        (("predict", "--model", "nowhere", "--text", "a"), "nowhere"),
        (("serve", "--model", "corpus"), "corpus"),
    ):
        failed = preloaded.run(*arguments, cwd=project.folder, expect=1)
        assert "Traceback" not in failed.stderr
        assert "error: " in failed.stderr
        assert word in failed.stderr


def _losses(project: Project, run_folder: str) -> dict[int, float]:
    """The valid loss of every validation of a run, by step."""
    return {entry["step"]: entry["loss"] for entry in project.json(f"{run_folder}/metrics.json")["history"]}
