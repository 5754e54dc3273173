"""``init_from``: a run starts with the weights of a trained model, on the same or on another corpus."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from helpers.small_models import small_network, small_vocabulary, write_small_bundle, write_small_checkpoint
from helpers.small_runs import ConfigFactory, optimizer_config

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.errors import ConfigError
from lstm_lm.export.bundle_export import export_bundle
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import WORD_PARAMETERS, LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.config import TrainConfig, TrainerConfig
from lstm_lm.training.initialization import warm_start
from lstm_lm.training.run import train

ONE_EPOCH = TrainerConfig(precision="fp32", max_epochs=1)
# a step that changes no weight
ONE_STEP = {"trainer": TrainerConfig(precision="fp32", max_steps=1), "optimizer": optimizer_config("sgd", lr=1e-30)}


def test_first_validation_has_the_score_of_the_source(config: ConfigFactory, tmp_path: Path) -> None:
    source = train(config(trainer=ONE_EPOCH), tmp_path / "source")
    export_bundle(tmp_path / "source", tmp_path / "bundle", BundleExportConfig(onnx=False, int8=False))
    scratch = train(config(**ONE_STEP), tmp_path / "scratch")
    assert scratch["valid"]["loss"] > source["valid"]["loss"] + 0.1
    for given in ("source", "source/checkpoints/best.ckpt", "bundle"):
        warm = train(config(**ONE_STEP, init_from=str(tmp_path / given)), tmp_path / f"warm-{given.replace('/', '-')}")
        assert warm["valid"]["loss"] == pytest.approx(source["valid"]["loss"], rel=1e-6)
        assert warm["init_from"]["words"] == warm["vocabulary"] == source["vocabulary"]


def test_what_a_run_started_with_is_recorded_and_kept_by_resume(config: ConfigFactory, tmp_path: Path) -> None:
    train(config(trainer=ONE_EPOCH), tmp_path / "source")
    auto = config(trainer=ONE_EPOCH, init_from=str(tmp_path / "source"), resume="auto")
    first = train(auto, tmp_path / "warm")
    words = first["vocabulary"]
    assert first["init_from"] == {"name": "source/best.ckpt", "words": words, "vocabulary": words}
    again = train(replace(auto, trainer=replace(ONE_EPOCH, max_epochs=2)), tmp_path / "warm")
    assert again["epochs"] == pytest.approx(2.0, rel=0.01), "it continued, and did not start again"
    assert again["init_from"] == first["init_from"]
    last = read_checkpoint(tmp_path / "warm" / "checkpoints" / "last.ckpt")
    assert last.metadata.init_from is not None
    assert asdict(last.metadata.init_from) == first["init_from"]
    bundle = export_bundle(tmp_path / "warm", tmp_path / "bundle", BundleExportConfig(onnx=False, int8=False)).bundle
    assert bundle.metadata.init_from == last.metadata.init_from
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert f"| initial weights | {words} of {words} words from source/best.ckpt |" in card


@pytest.mark.parametrize("artifact", ["bundle", "checkpoint"])
@pytest.mark.parametrize("tie_weights", [True, False])
def test_rows_of_shared_words_are_copied_and_others_begin_as_usual(
    artifact: str, tie_weights: bool, tmp_path: Path
) -> None:
    config = ModelConfig(16, [24, 16], tie_weights, cutoffs=[0.5])
    source, known = small_network(config, seed=1), small_vocabulary()
    if artifact == "bundle":
        path = write_small_bundle(tmp_path / "mine", source)
    else:
        path = write_small_checkpoint(tmp_path / "mine.ckpt", source)
    words = [*reversed(known.words[:30]), *(f"new{index}" for index in range(12))]
    vocabulary = Vocabulary(words, range(len(words), 0, -1))
    network = LSTMLanguageModel(replace(config, output_dropout=0.3), len(words))
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    result = warm_start(network, vocabulary, path)
    assert asdict(result) == {"name": path.name, "words": 30, "vocabulary": 42}
    of_source = dict(source.named_parameters())
    for name, parameter in network.named_parameters():
        if name in WORD_PARAMETERS:
            for index, word in enumerate(words):
                expected = of_source[name][known.id(word)] if word in known else before[name][index]
                assert torch.equal(parameter[index], expected), (name, word)
        else:
            of_clusters = name.startswith("clusters.")  # they belong to the other vocabulary
            assert torch.equal(parameter, before[name] if of_clusters else of_source[name]), name


def test_half_precision_bundle_is_enough(tmp_path: Path) -> None:
    import numpy as np
    from helpers.small_models import write_plain_bundle

    weights = {name: tensor.numpy().astype(np.float16) for name, tensor in small_network().state_dict().items()}
    bundle = write_plain_bundle(tmp_path / "half", weights=weights)
    network = LSTMLanguageModel(small_network().config, 49)
    warm_start(network, small_vocabulary(), bundle.path)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, torch.from_numpy(weights[name]).float()), name


def test_other_sizes_are_refused_with_both_values(tmp_path: Path) -> None:
    path = write_small_checkpoint(tmp_path / "mine.ckpt")
    network = LSTMLanguageModel(ModelConfig(8, [8], tie_weights=False), 49)
    with pytest.raises(ConfigError) as caught:
        warm_start(network, small_vocabulary(), path)
    remedy = "model.embedding_dim=16 model.hidden_dims=[24,16] model.tie_weights=true"
    assert caught.value.problems == tuple(
        f"model.{name}: {now} here, but {before} in {path}; init_from needs a network of the same sizes: set {remedy}"
        for name, now, before in (
            ("embedding_dim", "8", "16"),
            ("hidden_dims", "[8]", "[24,16]"),
            ("tie_weights", "false", "true"),
        )
    )


def test_init_from_needs_a_model_and_excludes_resume(tmp_path: Path) -> None:
    path = write_small_checkpoint(tmp_path / "mine.ckpt")

    def problems(**settings: str) -> list[str]:
        return [text for text in TrainConfig(**settings).problems() if text.startswith("init_from")]

    assert problems(init_from=str(tmp_path / "nowhere")) == [
        f"init_from: no such file or folder (got {tmp_path / 'nowhere'}); give a run folder or bundle"
    ]
    assert problems(init_from=str(path), resume=str(path)) == [
        "init_from: cannot be combined with resume, which restores the run's own weights; remove one"
    ]
    assert problems(init_from=str(path)) == problems(init_from=str(path), resume="auto") == []
