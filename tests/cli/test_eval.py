"""``lstm-lm eval`` with cache and dynamic evaluation: settings are tuned, saved, reused and overridden."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_models import write_small_bundle

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.cli.eval import job
from lstm_lm.cli.main import main
from lstm_lm.config.validation import check
from lstm_lm.errors import ConfigError
from lstm_lm.evaluation import tuning
from lstm_lm.evaluation.config import DEFAULTS

SMALL = ["model=tiny", "callbacks=quiet", "batching.bptt_length=10", "optimizer.lr=1e-2"]
CACHE_SETTINGS = {"cache_window", "cache_theta", "cache_weight"}
# every step of tuning, on as little data as possible
QUICK = ["evaluation.tune_tokens=100", "evaluation.gradient_windows=3"]


@pytest.fixture(scope="module")
def trained(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a model trained for one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    corpus = ["data=text_files", f"data.dir={small_corpus}"]
    assert main(["train", *SMALL, *corpus, "trainer.max_epochs=1", f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the checkpoint that a test can change."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "model.ckpt"
    copy.write_bytes((trained / "checkpoints" / "last.ckpt").read_bytes())
    return copy


def evaluate(*overrides: str) -> dict[str, Any]:
    assert main(["eval", "checkpoint=model.ckpt", *overrides, "hydra.run.dir=scored"]) == 0
    return json.loads(Path("scored/metrics.json").read_text())  # type: ignore[no-any-return]


def metadata(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)["lstm_lm"]  # type: ignore[no-any-return]


@pytest.mark.slow
def test_tuned_settings_are_saved_reused_and_overridden(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = evaluate("evaluation=cache", "split=valid")
    assert first["evaluation"] == "cache"
    assert first["settings"] == {name: DEFAULTS[name] for name in CACHE_SETTINGS}
    assert set(first["settings_from"].values()) == {"default"}
    assert "interval" not in first, "320 words are one block: too few for a bootstrap"

    tuned = evaluate("evaluation=cache", "split=valid", "tune=true")
    assert set(tuned["settings_from"].values()) == {"tuned"}
    assert metadata(checkpoint)["tuned"] == {"cache": tuned["settings"]}
    assert "tuned on valid" in capsys.readouterr().out

    again = evaluate("evaluation=cache", "split=valid")
    assert again == tuned
    other = evaluate("evaluation=cache", "split=valid", "evaluation.cache_weight=0.5")
    assert other["settings"] == {**tuned["settings"], "cache_weight": 0.5}
    assert other["settings_from"] == {**tuned["settings_from"], "cache_weight": "given"}
    assert other["loss"] != tuned["loss"]
    static = evaluate("split=valid")
    assert "settings" not in static
    assert evaluate("evaluation=cache", "split=valid", "evaluation.cache_weight=0")["loss"] == pytest.approx(
        static["loss"], abs=1e-5
    )


@pytest.mark.slow
def test_dynamic_cache_is_tuned_and_the_checkpoint_can_be_resumed(
    checkpoint: Path, small_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.load(checkpoint, weights_only=True)
    read_checkpoint(checkpoint).save_tuned("cache", {"cache_weight": 0.3})
    scored = evaluate("evaluation=dynamic_cache", "tune=true", *QUICK)
    assert scored["split"] == "test"
    assert set(scored["settings"]) == {"lr", "decay", *CACHE_SETTINGS}
    assert metadata(checkpoint)["tuned"] == {"cache": {"cache_weight": 0.3}, "dynamic_cache": scored["settings"]}
    assert "decay" in capsys.readouterr().out

    after = torch.load(checkpoint, weights_only=True)
    assert {name: value for name, value in after["lstm_lm"].items() if name != "tuned"}.keys() == before[
        "lstm_lm"
    ].keys()
    assert after.keys() == before.keys()
    for name, tensor in before["state_dict"].items():
        assert torch.equal(tensor, after["state_dict"][name])
    corpus = ["data=text_files", f"data.dir={small_corpus}"]
    lines = [*SMALL, *corpus, "trainer.max_epochs=2", "resume=model.ckpt", "hydra.run.dir=on"]
    assert main(["train", *lines]) == 0
    assert "tuned" not in metadata(Path("on/checkpoints/last.ckpt")), "settings do not apply to other weights"


@pytest.mark.slow
def test_interrupted_tuning_changes_nothing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = checkpoint.read_bytes()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "search_cache", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job(eval_config("evaluation=cache", "split=valid", "tune=true"), Path("scored"))
    assert checkpoint.read_bytes() == before
    assert [file.name for file in Path.cwd().glob("*.ckpt*")] == [checkpoint.name]


def eval_config(*lines: str) -> Any:
    return check("eval", ["checkpoint=model.ckpt", *lines]).config


def test_tuning_without_tunable_settings_or_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tune: static has no settings to tune; choose .*cache, dynamic"):
        check("eval", ["checkpoint=x", "tune=true"])
    bundle = write_small_bundle(tmp_path / "mine")
    config = check("eval", [f"checkpoint={bundle}", "tune=true", "evaluation=cache"]).config
    with pytest.raises(ConfigError, match="tune: cannot save settings in a bundle"):
        job(config, tmp_path)  # type: ignore[arg-type]


def test_a_corpus_that_was_moved_is_one_problem_with_the_remedy_that_works(
    checkpoint: Path, small_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["lstm_lm"]["data"]["dir"] = str(tmp_path / "gone")
    torch.save(content, checkpoint)
    assert main(["eval", "checkpoint=model.ckpt", "hydra.run.dir=scored"]) == 1
    error = capsys.readouterr().err
    assert "the configuration has a problem:" in error
    assert f"model.ckpt was {tmp_path / 'gone'}, and there is no such path; give its path" in error
    assert "with data=text_files data.dir=FOLDER" in error
    evaluate("data=text_files", f"data.dir={small_corpus}")


def test_a_run_folder_is_evaluated_by_its_name(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scores = []
    for given in (trained, trained / "checkpoints", trained / "checkpoints" / "best.ckpt"):
        assert main(["eval", f"checkpoint={given}", "hydra.run.dir=scored"]) == 0
        scores.append(json.loads(Path("scored/metrics.json").read_text())["loss"])
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.slow
def test_mixture_is_tuned_saved_by_its_components_and_reused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSTM_LM_CACHE", str(Path("cache").absolute()))
    static = evaluate("split=valid")
    tuned = evaluate("evaluation=mixture", "split=valid", "tune=true")
    assert tuned["evaluation"] == "mixture+cache+ngram+neighbours"
    assert tuned["loss"] < static["loss"]
    assert set(tuned["settings_from"].values()) == {"tuned"}
    mixture = tuned["mixture"]
    assert set(mixture["weights"]) == set(mixture["seconds"]) == {"network", "cache", "ngram", "neighbours"}
    assert sum(mixture["weights"].values()) == pytest.approx(1.0)
    assert mixture["cross_check"]["tokens"] == tuned["tokens"]
    output = capsys.readouterr().out
    assert "mixture+cache+ngram+neighbours evaluation" in output
    assert "neighbours: mean weight, time" in output
    (index,) = Path("cache").glob("features-*")
    built = index.stat().st_mtime_ns

    again = evaluate("evaluation=mixture", "split=valid")
    assert again["loss"] == pytest.approx(tuned["loss"], abs=1e-9)
    assert again["mixture"]["cross_check"] is None
    assert index.stat().st_mtime_ns == built, "the features of train are computed once"
    # the tuned settings are those of these components only
    fewer = evaluate("evaluation=mixture", "split=valid", "evaluation.neighbours=false")
    assert fewer["evaluation"] == "mixture+cache+ngram"
    assert set(fewer["settings_from"].values()) == {"default"}
    assert not fewer["mixture"]["per_token"]
    assert set(metadata(checkpoint)["tuned"]) == {"mixture+cache+ngram+neighbours"}
    everything = evaluate("evaluation=mixture", "split=valid", "evaluation.dynamic=true", "evaluation.lr=1e-4", *QUICK)
    assert everything["evaluation"] == "mixture+cache+ngram+neighbours+dynamic"
    assert "mixture+cache+ngram+neighbours" in metadata(checkpoint)["tuned"]
