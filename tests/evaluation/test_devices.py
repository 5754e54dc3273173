"""Every evaluation gives the same score on a GPU as on the CPU: here on a stand-in, and on a GPU if there is one."""

import copy
from pathlib import Path

import pytest
import torch
from helpers.small_streams import VOCABULARY, network, stream
from helpers.stand_in_gpu import GPU, stand_in_gpu

from lstm_lm.data.config import DataConfig
from lstm_lm.evaluation import neighbours, run
from lstm_lm.evaluation.config import COMPONENTS, EvaluationConfig
from lstm_lm.evaluation.run import EvaluationResult, evaluate
from lstm_lm.evaluation.score import Score

CONFIGS = [
    EvaluationConfig("static", batch_size=3),
    EvaluationConfig("cache", cache_window=30),
    EvaluationConfig("dynamic_cache", lr=0.01, decay=0.01, cache_window=30),
    EvaluationConfig("mixture", **dict.fromkeys(COMPONENTS[:-1], True), neighbours_k=16),
    EvaluationConfig("mixture", **dict.fromkeys(COMPONENTS, True), lr=0.01, decay=0.01, neighbours_k=16),
    EvaluationConfig("keyboard"),
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    monkeypatch.setattr(neighbours, "_CELL_SIZE", 40)
    for seed, split in enumerate(("train", "valid", "test")):
        words = [VOCABULARY.word(word_id) for word_id in stream(300 if split == "train" else 80, seed=seed).tolist()]
        lines = [" ".join(word for word in words[i : i + 12] if word != "<eos>") for i in range(0, len(words), 12)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DataConfig(source="text_files", dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.label)
def test_an_evaluation_on_a_gpu_gives_the_same_score(
    config: EvaluationConfig, data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.copy(config)
    config.window_length, config.gradient_windows = 9, 5

    def result(device: torch.device) -> EvaluationResult:
        monkeypatch.setattr(run, "find_device", lambda _: device)
        on_tuned = (lambda _: None) if config.tunable else None
        return evaluate(network(), VOCABULARY, data, config, on_tuned=on_tuned)

    wanted = result(torch.device("cpu"))
    if torch.cuda.is_available():
        found = result(torch.device("cuda"))
    else:
        with stand_in_gpu(monkeypatch):
            found = result(GPU)
    if isinstance(wanted.score, Score):
        assert isinstance(found.score, Score)
        # the weights of a mixture are fitted to a few words, which enlarges a difference in the last bits
        limit = 1e-2 if config.name == "mixture" and torch.cuda.is_available() else 1e-4
        assert found.score.loss == pytest.approx(wanted.score.loss, rel=limit)
    else:
        assert found.score == wanted.score
    assert found.settings == pytest.approx(wanted.settings)
