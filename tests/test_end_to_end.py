"""The whole path through the real commands, from train to serve, and going on after a stop."""

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
from real_commands import count_tokens, lstm_lm, run, served, write_corpus

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
class Workplace:
    """A folder far from the project that holds a corpus and a finished run, and what training printed."""

    folder: Path
    printed: str

    def json(self, path: str) -> dict[str, Any]:
        return json.loads((self.folder / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("a workplace")
    write_corpus(folder / "corpus")
    return Workplace(folder, run("train", *SMALL, "trainer.max_epochs=2", "hydra.run.dir=run", cwd=folder).stdout)


@pytest.fixture(scope="module")
def scored(place: Workplace) -> str:
    """What eval printed."""
    return run("eval", CHECKPOINT, "split=test", "hydra.run.dir=scored", cwd=place.folder).stdout


@pytest.fixture(scope="module")
def bundle(place: Workplace) -> str:
    """The folder that export wrote."""
    done = run("export", CHECKPOINT, "out=bundle", "hydra.run.dir=exporting", cwd=place.folder)
    assert "bundle" in done.stdout
    return "bundle"


def test_training_leaves_a_run_folder_with_its_figures(place: Workplace) -> None:
    metrics = place.json("run/metrics.json")
    assert metrics["stopped_by"] == "max_epochs"
    assert metrics["valid"]["perplexity"] == pytest.approx(math.exp(metrics["valid"]["loss"]))
    # 36 words in a uniform guess; the grammar leaves about 5 choices at every third place
    assert metrics["valid"]["perplexity"] < 8
    assert [entry["epoch"] for entry in metrics["history"]] == sorted(entry["epoch"] for entry in metrics["history"])
    run_folder = place.folder / "run"
    assert (run_folder / ".hydra" / "overrides.yaml").is_file()
    assert (run_folder / "train.log").stat().st_size > 0
    assert {file.name for file in (run_folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert any((run_folder / "tensorboard").glob("events.out.tfevents.*"))
    assert f"{metrics['valid']['perplexity']:.2f}" in place.printed
    assert "lstm-lm eval checkpoint=run/checkpoints/best.ckpt" in place.printed


def test_the_score_counts_every_token_of_the_split(place: Workplace, scored: str) -> None:
    score = place.json("scored/metrics.json")
    assert score["tokens"] == count_tokens(place.folder / "corpus" / "test.txt")
    assert (score["split"], score["evaluation"]) == ("test", "static")
    assert score["perplexity"] == pytest.approx(math.exp(score["loss"]))
    assert score["perplexity"] < 8
    assert 0 < score["top1"] <= score["top3"] <= score["top5"] <= 1
    assert 0 < score["words"]["tokens"] < score["tokens"]
    assert score["unk_rate"] == 0
    assert f"{score['perplexity']:.2f}" in scored


def test_a_bundle_scores_like_its_checkpoint(place: Workplace, scored: str, bundle: str) -> None:
    run(
        "eval",
        f"checkpoint={bundle}",
        "data=text_files",
        "data.dir=corpus",
        "hydra.run.dir=bundle_scored",
        "evaluation.window_length=7",
        cwd=place.folder,
    )
    score, of_bundle = place.json("scored/metrics.json"), place.json("bundle_scored/metrics.json")
    assert of_bundle["tokens"] == score["tokens"]
    assert of_bundle["loss"] == pytest.approx(score["loss"], abs=1e-5)
    assert of_bundle["words"]["tokens"] == score["words"]["tokens"]


def test_the_bundle_is_data_with_its_model_card(place: Workplace, bundle: str) -> None:
    names = {file.name for file in (place.folder / bundle).iterdir()}
    assert {"manifest.json", "model.safetensors", "vocabulary.json", "README.md"} <= names
    manifest = place.json(f"{bundle}/manifest.json")
    assert str(place.folder) not in json.dumps(manifest), "a bundle must not tell where it was made"


def test_predict_from_checkpoint_and_bundle_agree(place: Workplace, bundle: str) -> None:
    answers = []
    for model in (bundle, "run/checkpoints/best.ckpt"):
        done = run("predict", "--model", model, "--text", "the old", "--k", "5", "--json", cwd=place.folder)
        answers.append([(s["word"], s["probability"]) for s in json.loads(done.stdout)["suggestions"]])
    assert answers[0][0][0] == "dog"
    assert len(answers[0]) == 5
    assert sum(probability for _, probability in answers[0]) <= 1.0
    # the bundle answers in int8, which may change the places of words that are hardly probable
    others = dict(answers[1])
    for word, probability in answers[0]:
        assert probability == pytest.approx(others.get(word, 0.0), abs=0.01)


def test_generate_repeats_with_its_seed_and_shows_text(place: Workplace, bundle: str) -> None:
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
    first, second = (json.loads(run(*command, cwd=place.folder).stdout) for _ in range(2))
    assert first == second
    assert first["text"].startswith("The zebra didn't like")
    assert len(first["words"]) == 30
    assert not {"river", "=", "<unk>"} & set(first["words"])
    assert "@-@" not in first["text"]
    assert first["unknown_words"] == ["zebra"]


def test_the_service_answers_over_http(place: Workplace, bundle: str) -> None:
    shown = run("predict", "--model", bundle, "--text", "the old", "--k", "3", "--json", cwd=place.folder)
    expected = json.loads(shown.stdout)["suggestions"]
    with served(lstm_lm("serve", "--model", bundle, "--port", "0"), place.folder) as client:
        assert client.get("/health").status_code == 200
        suggestions = client.post("/predict", json={"text": "the old", "k": 3}).json()["suggestions"]
        assert [s["word"] for s in suggestions] == [s["word"] for s in expected]
        body = {"text": "the farmer", "generate": 12, "strategy": "sample", "temperature": 0.9, "topk": 20, "seed": 7}
        body |= {"ban_unk": True, "ban_tokens": ["river"], "repeat_penalty": 1.2, "repeat_window": 80, "stop_eos": True}
        answers = [client.post("/generate", json=body) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        assert answers[0].json()["text"].startswith("the farmer")
        assert client.get("/docs").status_code == 200
        assert client.post("/predict", json={"text": "the old", "k": -1}).status_code == 422
        assert client.post("/predict", content=b"{").status_code in (400, 415, 422)


def test_uvicorn_serves_the_bundle_of_the_environment(place: Workplace, bundle: str) -> None:
    uvicorn = [lstm_lm()[0], "-m", "uvicorn", "--factory", "lstm_lm.serving:create_app", "--port", "0"]
    uvicorn += ["--http", "lstm_lm.serving.http_protocol:BoundedHttpTools"]
    with served(uvicorn, place.folder, {"LSTM_LM_BUNDLE": bundle}) as client:
        answer = client.post("/predict", json={"text": "the old", "k": 1}).json()
        assert answer["suggestions"][0]["word"] == "dog"


def test_one_seed_trains_one_model(place: Workplace) -> None:
    run("train", *SMALL, "trainer.max_epochs=2", "hydra.run.dir=twin", cwd=place.folder)
    assert _losses(place, "twin") == _losses(place, "run")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(place: Workplace, stop: signal.Signals) -> None:
    """Stopped wherever it happens to be, it reaches the loss of a run that was never stopped."""
    name = stop.name.lower()
    overrides = (*SMALL, "batching.jitter=true", "batching.random_offset=true", "model.output_dropout=0.2")
    command = lstm_lm("train", *overrides, "trainer.max_epochs=1000000", f"hydra.run.dir={name}")
    last = place.folder / name / "checkpoints" / "last.ckpt"
    with (place.folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(command, cwd=place.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 120
            while not last.is_file() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert last.is_file(), (place.folder / f"{name}.out").read_text()
            time.sleep(0.3)
            process.send_signal(stop)
            assert process.wait(60) == 128 + stop, (place.folder / f"{name}.out").read_text()
        finally:
            process.kill()
    assert f"{name}/checkpoints/last.ckpt" in (place.folder / f"{name}.out").read_text()

    done = torch.load(last, weights_only=True)["global_step"]
    # an epoch is about 165 steps: at least one validation is ahead
    end = f"trainer.max_steps={done + 200}"
    run("train", *overrides, end, f"resume={name}/checkpoints/last.ckpt", f"hydra.run.dir={name}_on", cwd=place.folder)
    run("train", *overrides, end, f"hydra.run.dir={name}_whole", cwd=place.folder)
    resumed, whole = _losses(place, f"{name}_on"), _losses(place, f"{name}_whole")
    assert resumed, "the resumed run has validated nothing"
    for step, loss in resumed.items():
        assert loss == pytest.approx(whole[step], abs=1e-6)
    run("eval", f"checkpoint={name}/checkpoints/last.ckpt", f"hydra.run.dir={name}_scored", cwd=place.folder)


def test_a_users_mistake_is_one_line_and_exit_status_1(place: Workplace) -> None:
    for arguments, word in (
        (("train", "model=smal"), "small"),
        (("train", *SMALL, "optimizer.lrr=1"), "lr"),
        (("eval", "checkpoint=nowhere.ckpt"), "nowhere.ckpt"),
        (("export", "checkpoint=corpus/train.txt", "out=x"), "train.txt"),
        (("predict", "--model", "nowhere", "--text", "a"), "nowhere"),
        (("serve", "--model", "corpus"), "corpus"),
    ):
        failed = run(*arguments, cwd=place.folder, expect=1)
        assert "Traceback" not in failed.stderr
        assert "error: " in failed.stderr
        assert word in failed.stderr


def _losses(place: Workplace, run_folder: str) -> dict[int, float]:
    """The valid loss of every validation of a run, by step."""
    return {entry["step"]: entry["loss"] for entry in place.json(f"{run_folder}/metrics.json")["history"]}
