"""The script that compares keyboards, and its prompts."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers.small_models import PRESETS, small_engine, small_network, small_vocabulary, write_small_bundle

from lstm_lm.data.ngram import KneserNeyNgram
from lstm_lm.data.streams import EvalWindows
from lstm_lm.evaluation.config import EvaluationConfig
from lstm_lm.evaluation.keyboard import evaluate_keyboard
from lstm_lm.inference.engine import Engine
from lstm_lm.text.vocabulary import Vocabulary

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_keyboard.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_keyboard", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_200_everyday_prompts_with_one_wanted_word(bench: ModuleType) -> None:
    prompts = bench.read_prompts(bench.PROMPTS)
    assert len(prompts) >= 200
    assert len(set(prompts)) == len(prompts)
    for text, word in prompts:
        assert text
        assert not text.endswith(" ")
        assert "\\" not in text
        assert re.fullmatch(r"[\w']+", word), word


def test_the_ngram_backend_gives_the_distribution_of_the_ngram_model(bench: ModuleType) -> None:
    ids = np.random.default_rng(1).integers(6, size=400).astype(np.int32)
    ngram = KneserNeyNgram(ids, 6, eos_id=0, order=4)
    backend = bench.NgramBackend(ngram, eos_id=0)
    text = ids[:10].astype(np.int64)
    expected = ngram.distributions(ngram.contexts(text)[1:])
    state = backend.initial_state(2)
    for position, word in enumerate(text):
        logits, state = backend.step(np.array([[word], [word]]), state)
        assert np.exp(logits) == pytest.approx(np.stack([expected[position]] * 2), rel=1e-5)
    assert backend.step(text[None], backend.initial_state(1))[0] == pytest.approx(logits[:1])


def test_a_split_has_the_score_of_the_evaluation(bench: ModuleType) -> None:
    vocabulary, network = small_vocabulary(), small_network()
    ids = np.random.default_rng(2).integers(len(vocabulary), size=400).astype(np.int32)
    config = EvaluationConfig(name="keyboard", batch_size=bench.STREAMS)
    expected = evaluate_keyboard(network, ids, vocabulary, config)
    assert bench.score_split(small_engine(network).backend, vocabulary, ids, "test") == expected
    assert len(list(EvalWindows(ids, bench.STREAMS, 70, vocabulary.eos_id))) == 1  # with padding in the last streams


def test_prompts_are_typed_until_the_word_is_suggested(bench: ModuleType) -> None:
    vocabulary = Vocabulary(["tea", "team", "tear", "ten", "a", "<eos>", "<unk>"], range(7, 0, -1))
    ids = np.array([4, 0] * 9 + [4, 1] * 6 + [4, 2] * 3 + [4, 3], dtype=np.int32)
    ngram = bench.NgramBackend(KneserNeyNgram(ids, len(vocabulary), vocabulary.eos_id, 2), vocabulary.eos_id)
    engine = Engine(ngram, vocabulary, PRESETS, "balanced")
    score = bench.score_prompts(engine, [("a", "tea"), ("a", "tear"), ("a", "ten"), ("a", "unknown")])
    # tea and tear are suggested at once, ten after "ten" less one letter is still fourth, unknown never
    assert (score.words.top1, score.words.top3) == (0.25, 0.5)
    assert score.keystrokes == 4 + 5 + 4 + 8
    assert score.keystrokes_with_suggestions == 1 + 1 + 4 + 8


def test_the_command_prints_one_row_per_keyboard(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small_bundle(tmp_path / "bundle")
    words = small_vocabulary().words
    (tmp_path / "book.txt").write_text("\n".join(f"{word} and the {i}" for i, word in enumerate(words * 20)))
    (tmp_path / "prompts.tsv").write_text("text\tnext\n" + "".join(f"{word}\t{word}\n" for word in words[:5]))
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", "bundle", "--file", "book.txt", "--prompts", "prompts.tsv", "--json", "scores.json"]
    monkeypatch.setattr(sys, "argv", ["bench_keyboard.py", *arguments])
    bench.main()
    output = capsys.readouterr().out
    assert "bundle" in output
    assert "Kneser-Ney 4-gram" in output
    assert output.count("saved") == 2
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores) == ["bundle", "Kneser-Ney 4-gram"]
    assert all(list(texts) == ["5 prompts", "test of book.txt"] for texts in scores.values())
