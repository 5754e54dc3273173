"""The model that ships with the package."""

import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lstm_lm.bundle import Bundle
from lstm_lm.cli.main import main
from lstm_lm.errors import BundleError
from lstm_lm.loading import load_model
from lstm_lm.pretrained import PRETRAINED
from lstm_lm.serving import create_app
from lstm_lm.serving.settings import read_settings

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from bench_keyboard import PROMPTS, read_prompts, score_prompts


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    model = load_model()
    assert isinstance(model, Bundle)
    return model


def test_it_is_small_and_says_where_it_comes_from(shipped: Bundle) -> None:
    assert shipped.path == PRETRAINED
    assert sum(shipped.files.values()) <= 6_000_000
    assert shipped.files["model.int8.onnx"] <= 5_000_000
    assert {"seed", "step", "versions"} <= shipped.metadata.training.keys()
    assert "commit" in shipped.metadata.training["versions"]
    card = (PRETRAINED / "README.md").read_text()
    for words in (
        "Chit-Chat Challenge",
        "| licence of the corpus | mit |",
        "| language of the corpus | en |",
        "| seed |",
    ):
        assert words in card


def test_it_is_as_good_as_its_card_says(shipped: Bundle) -> None:
    scores = shipped.metadata.metrics
    assert scores["test (keyboard)"]["keystroke_savings_rate"] >= 0.59
    score = score_prompts(shipped.engine(), read_prompts(PROMPTS))
    assert score.words.top3 >= 0.36


def test_it_cannot_be_trained_further(shipped: Bundle) -> None:
    with pytest.raises(BundleError, match=r"has no model\.safetensors"):
        _ = shipped.network


@pytest.mark.parametrize(
    ("text", "word"), [("How are", "you"), ("What do you", "think"), ("I don't", "know"), ("See you", "later")]
)
def test_the_commands_use_it_and_say_so(text: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--text", text, "--k", "3", "--words-only"]) == 0
    out, err = capsys.readouterr()
    assert word in out
    assert "model: keyboard (everyday English), which ships with lstm-lm; --model gives another" in err


def test_generate_uses_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--text", "How are", "--generate", "5", "--seed", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("How are")
    assert "ships with lstm-lm" in err


def test_the_service_serves_it_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSTM_LM_BUNDLE", raising=False)
    with TestClient(create_app(read_settings())) as client:
        assert client.get("/info").json()["name"] == "keyboard"
        suggestions = client.post("/predict", json={"text": "Thank", "k": 3}).json()["suggestions"]
        assert "you" in [each["word"] for each in suggestions]
