"""An exported bundle gives the results of its checkpoint, or nothing is written."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from helpers.small_models import checkpoint_content, small_network, write_small_checkpoint
from helpers.waiting import DEADLINE

from lstm_lm.bundle import RULES, Bundle, read_bundle
from lstm_lm.errors import BundleError, ConfigError
from lstm_lm.export import bundle_export
from lstm_lm.export.bundle_export import export_bundle
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.export.onnx_graph import Weights
from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.prediction_request import Prediction
from lstm_lm.nn.config import ModelConfig
from lstm_lm.serving.schemas import PredictionOptions


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_small_checkpoint(tmp_path / "best.ckpt")


@pytest.mark.parametrize(
    ("tie_weights", "cutoffs"), [(True, []), (False, []), (True, [0.1, 0.3]), (True, [0.5]), (False, [0.2, 0.4, 0.6])]
)
def test_every_network_matches_the_checkpoint(tie_weights: bool, cutoffs: list[float], tmp_path: Path) -> None:
    network = small_network(ModelConfig(16, [24, 16], tie_weights, cutoffs=cutoffs))
    report = export_bundle(write_small_checkpoint(tmp_path / "best.ckpt", network), tmp_path / "out")
    assert list(report.parity) == ["model.safetensors", "model.onnx", "model.int8.onnx"]
    weights, float32, int8 = report.parity.values()
    assert (weights.max_difference, weights.same_texts) == (0.0, None)
    assert float32.max_difference < 1e-4
    assert float32.same_texts == 100
    assert float32.perplexity == pytest.approx(report.perplexity, rel=1e-4)
    assert int8.max_difference > 0.0
    assert int8.perplexity == pytest.approx(report.perplexity, rel=0.01)
    assert (report.tokens, report.source) == (2048, "random words by train frequency")
    assert report.bundle == read_bundle(tmp_path / "out")
    assert report.num_bytes == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())


def test_graphs_name_their_vocabulary_and_float32_has_standard_operators_only(tmp_path: Path) -> None:
    bundle = export_bundle(write_small_checkpoint(tmp_path / "best.ckpt"), tmp_path / "out").bundle
    for name, domains in (("model.onnx", {""}), ("model.int8.onnx", {"", "com.microsoft"})):
        graph = onnx.load(bundle.path / name)
        assert {prop.key: prop.value for prop in graph.metadata_props} == {
            "lstm_lm.format": "2",
            "lstm_lm.tokenizer": bundle.metadata.tokenizer,
            "lstm_lm.vocabulary_size": "49",
            "lstm_lm.vocabulary_sha256": bundle.vocabulary.fingerprint,
        }
        assert {opset.domain for opset in graph.opset_import} == domains
        # an operator of another domain without its opset is refused
        onnx.checker.check_model(graph if name == "model.onnx" else onnx.shape_inference.infer_shapes(graph))
    rules = json.loads((bundle.path / "rules.json").read_text())
    assert rules["vocabulary_sha256"] == bundle.vocabulary.fingerprint


@pytest.mark.parametrize(
    ("float32", "int8", "backend"),
    [(False, False, "TorchBackend"), (True, False, "OnnxBackend"), (False, True, "OnnxBackend")],
)
def test_only_selected_graphs_are_written(
    checkpoint: Path, tmp_path: Path, float32: bool, int8: bool, backend: str
) -> None:
    report = export_bundle(checkpoint, tmp_path / "out", BundleExportConfig(onnx=float32, int8=int8))
    assert ("model.onnx" in report.bundle.files) == float32
    assert ("model.int8.onnx" in report.bundle.files) == int8
    assert (report.perplexity is not None) == (float32 or int8)
    assert type(report.bundle.backend()).__name__ == backend


def test_parity_uses_valid_if_the_corpus_is_available(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("the cat saw the old river .\n" * 60)
    content = checkpoint_content(small_network())
    content["lstm_lm"]["data"]["dir"] = str(tmp_path)
    torch.save(content, tmp_path / "best.ckpt")
    report = export_bundle(tmp_path / "best.ckpt", tmp_path / "out")
    assert report.source == "the valid split"
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text(), "the manifest contains a local path"


def test_parity_failure_writes_no_bundle_and_keeps_an_old_one(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(bundle_export, "max_difference", lambda *_: 0.5)
    with pytest.raises(
        BundleError,
        match=r"model\.safetensors differ from .* by 5\.00e-01, .*parity_tolerance=1e-05.*model\.onnx",
    ):
        export_bundle(checkpoint, out)
    assert not out.exists()
    export_bundle(checkpoint, out, BundleExportConfig(parity_tolerance=1.0, onnx_tolerance=1.0))
    before = read_bundle(out)
    monkeypatch.setattr(bundle_export, "max_difference", lambda *_: float("nan"))
    with pytest.raises(BundleError, match="not written"):
        export_bundle(checkpoint, out, BundleExportConfig(overwrite=True))
    assert read_bundle(out) == before


@pytest.mark.parametrize(
    ("graph", "file", "message"),
    [
        ("float_graph", "layers.1.weight_hh_l0", r"logits of model\.onnx differ from .*onnx_tolerance=0\.0001"),
        (
            "int8_graph",
            "output_bias",
            r"int8\.onnx increases the perplexity by .*int8_tolerance=0\.01.*export\.int8",
        ),
    ],
)
def test_differing_graph_is_rejected(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: str, file: str, message: str
) -> None:
    build = getattr(bundle_export, graph)

    def changed(config: ModelConfig, weights: Weights, properties: dict[str, str]) -> bytes:
        other = weights[file].copy()
        other[3:20] += 0.5
        content: bytes = build(config, {**weights, file: other}, properties)
        return content

    monkeypatch.setattr(bundle_export, graph, changed)
    with pytest.raises(BundleError, match=message):
        export_bundle(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_differing_greedy_texts_are_rejected(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = iter([np.zeros((100, 3)), np.arange(300).reshape(100, 3)])
    monkeypatch.setattr(bundle_export, "greedy_texts", lambda *_: next(texts))
    with pytest.raises(BundleError, match=r"100 of 100 greedy texts of model\.onnx differ from the checkpoint's"):
        export_bundle(checkpoint, tmp_path / "out", BundleExportConfig(int8=False))


def test_changed_weight_is_detected(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unchanged = Bundle.backend

    def changed(self, choice="auto"):  # type: ignore[no-untyped-def]
        backend = unchanged(self, choice)
        if choice == "torch":
            with torch.no_grad():
                backend._model.layers[1].weight_hh_l0[3, 3] += 0.01
        return backend

    monkeypatch.setattr(Bundle, "backend", changed)
    with pytest.raises(BundleError, match=r"logits of model\.safetensors differ"):
        export_bundle(checkpoint, tmp_path / "out")


def test_sampling_argument_becomes_the_default_preset(checkpoint: Path, tmp_path: Path) -> None:
    sampling = SamplingConfig(strategy="greedy", ban_tokens=["the"])
    bundle = export_bundle(checkpoint, tmp_path / "out", sampling=sampling).bundle
    assert bundle.metadata.presets[bundle.metadata.default_preset] == sampling
    assert {"greedy", "balanced", "creative"} < set(bundle.metadata.presets)


def test_invalid_settings_are_reported_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        export_bundle(
            tmp_path / "nowhere",
            tmp_path / "out",
            BundleExportConfig(parity_tolerance=0.0),
            SamplingConfig(temperature=0.0),
            CacheConfig(weight=2.0),
        )
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "export.parity_tolerance",
        "sampling.temperature",
        "cache.weight",
    ]


def test_a_bundle_has_the_settings_of_its_neural_cache(checkpoint: Path, tmp_path: Path) -> None:
    own = CacheConfig(weight=0.5, theta=1.0, window=3)
    bundle = export_bundle(checkpoint, tmp_path / "out", cache=own).bundle
    assert json.loads((bundle.path / RULES).read_bytes())["cache"] == asdict(own)
    engine = read_bundle(bundle.path).engine()

    def predicted(**options: Any) -> Prediction:
        return engine.predict("the cat saw the dog and the", 9, **options)

    assert predicted(cache=True) == predicted(cache=own) != predicted(cache=CacheConfig())
    assert predicted() == predicted(cache=False) != predicted(cache=True)
    recent = ["I saw Zork."]
    assert predicted(recent=recent) == predicted(recent=recent, cache=True) == predicted(recent=recent, cache=own)
    assert predicted(recent=recent, cache=False) == predicted()
    request = PredictionOptions.model_validate({"cache": {"weight": 0.1}}).to_request(engine, "the cat", 3, 100)
    assert request.cache == engine.resolve_cache(weight=0.1) == CacheConfig(0.1, 1.0, 3)


def test_infinite_scores_are_null_in_the_manifest(tmp_path: Path) -> None:
    content = checkpoint_content(small_network())
    content["lstm_lm"]["metrics"] = {"valid": {"loss": 800.0, "perplexity": float("inf")}}
    torch.save(content, tmp_path / "best.ckpt")
    bundle = export_bundle(tmp_path / "best.ckpt", tmp_path / "out").bundle
    assert bundle.metadata.metrics == {"valid": {"loss": 800.0, "perplexity": None}}


@pytest.mark.parametrize("name", ["mine", "a name with 'quotes\" and $signs"])
def test_python_example_of_the_model_card_runs(checkpoint: Path, tmp_path: Path, name: str) -> None:
    export_bundle(checkpoint, tmp_path / name)
    card = (tmp_path / name / "README.md").read_text()
    rows = ("| vocabulary | 49 words |", "| layers | 24 + 16 |", "| cell | lstm |", "| valid | 4 | 54.6 |")
    for expected in (*rows, "`creative`"):
        assert expected in card
    code = card.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stderr
    assert "The people that" in done.stdout


def test_the_card_has_the_hubs_header_the_runs_record_and_the_scores(tmp_path: Path) -> None:
    content = checkpoint_content(small_network())
    content["lstm_lm"] |= {"seed": 3, "step": 40, "versions": {"commit": "abc123"}}
    content["lstm_lm"]["data"] |= {"license": "mit", "language": "en", "url": "https://example.org/text"}
    torch.save(content, tmp_path / "best.ckpt")
    scores = {
        "static": {"split": "test", "evaluation": "static", "perplexity": 61.5, "loss": 4.12, "top1": 0.25},
        "keyboard": {
            "split": "test",
            "evaluation": "keyboard",
            "keystroke_savings_rate": 0.61,
            "words": {"top1": 0.2, "top3": 0.4},
        },
    }
    for name, score in scores.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(score))
    config = BundleExportConfig(scores=[str(tmp_path / f"{name}.json") for name in scores], weights=False, onnx=False)
    report = export_bundle(tmp_path / "best.ckpt", tmp_path / "out", config)
    assert list(report.parity) == ["model.int8.onnx"]
    assert report.bundle.metadata.training == {"seed": 3, "step": 40, "versions": {"commit": "abc123"}}
    assert report.bundle.metadata.metrics.keys() >= {"test", "test (keyboard)"}
    card = (tmp_path / "out" / "README.md").read_text()
    header, _, text = card.removeprefix("---\n").partition("---\n")
    assert yaml.safe_load(header) == {
        "language": "en",
        "license": "mit",
        "library_name": "lstm_lm",
        "pipeline_tag": "text-generation",
        "tags": ["lstm", "next-word-prediction", "word-level"],
    }
    for line in (
        "| source of the corpus | https://example.org/text |",
        "| seed | 3 |",
        "| commit | abc123 |",
        "| test | 4.12 | 61.5 | 0.25 | - |",
        "| test | 20.0 % | 40.0 % | 61.0 % |",
    ):
        assert line in text.splitlines()


def test_a_bundle_needs_a_network_and_scores_that_exist(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    config = BundleExportConfig(weights=False, onnx=False, int8=False, scores=["missing.json"])
    with pytest.raises(
        ConfigError, match=r"(?s)export.weights: a bundle needs.*export.scores: missing.json is not a file"
    ):
        export_bundle(checkpoint, tmp_path / "out", config)
    with pytest.raises(ConfigError, match=r"export.scores: .*other.json holds no score"):
        export_bundle(checkpoint, tmp_path / "out", BundleExportConfig(scores=[str(tmp_path / "other.json")]))
    assert not (tmp_path / "out").exists()
