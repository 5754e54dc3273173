"""Nearest neighbours: exact if all cells are searched, each feature with the word after it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_streams import VOCABULARY, network, stream

from lstm_lm.evaluation import neighbours
from lstm_lm.evaluation.forward import eval_mode, stream_features
from lstm_lm.evaluation.neighbours import NeighbourIndex, build_index


def index(folder: Path, ids: np.ndarray, monkeypatch: pytest.MonkeyPatch, streams: int = 1) -> NeighbourIndex:
    monkeypatch.setattr(neighbours, "_CELL_SIZE", 20)
    monkeypatch.setattr(neighbours, "_STREAMS", streams)
    folder.mkdir(exist_ok=True)
    build_index(network(), ids, VOCABULARY.eos_id, folder, lambda *_: None)
    return NeighbourIndex(folder, torch.device("cpu"))


def features_of(ids: np.ndarray) -> torch.Tensor:
    model = network()
    with eval_mode(model):
        return torch.cat([block for block, _ in stream_features(model, ids, 50, VOCABULARY.eos_id)])


@pytest.mark.parametrize("k", [1, 7, 300])
def test_search_of_all_cells_is_exact(k: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, queries = stream(250), features_of(stream(60, seed=3))
    matches = index(tmp_path, train, monkeypatch).search(queries, k, probes=1000)
    distances = torch.cdist(queries, features_of(train).half().float()).square()
    nearest = distances.topk(min(k, 250), dim=1, largest=False)
    assert torch.allclose(matches.scores[:, :250], -nearest.values / 2, atol=1e-4)
    assert (matches.scores[:, 250:] == -torch.inf).all()
    # ties aside, the words are those after the nearest features
    expected = torch.from_numpy(train).long()[nearest.indices]
    assert (matches.words[:, : expected.shape[1]] == expected).float().mean() > 0.95


def test_a_feature_of_train_finds_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = stream(250)
    matches = index(tmp_path, train, monkeypatch).search(features_of(train), 1, probes=1)
    assert (matches.scores[:, 0] > -1e-3).float().mean() > 0.95
    assert (matches.words[:, 0].numpy() == train).mean() > 0.95


def test_train_is_read_as_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 7 streams of 36 words: the last is shorter
    train = stream(250)
    several = index(tmp_path / "several", train, monkeypatch, streams=7)
    assert len(several) == 250
    matches = several.search(features_of(train[:36]), 1, probes=1000)
    assert (matches.words[:, 0].numpy() == train[:36]).mean() > 0.9


def test_more_probes_find_nearer_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = index(tmp_path, stream(250), monkeypatch)
    queries = features_of(stream(60, seed=3))
    scores = [searched.search(queries, 10, probes).scores.clamp(min=-100) for probes in (1, 3, 1000)]
    assert (scores[0] <= scores[1] + 1e-5).all()
    assert (scores[1] <= scores[2] + 1e-5).all()
    assert scores[0].sum() < scores[2].sum()
