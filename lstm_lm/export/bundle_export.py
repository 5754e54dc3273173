"""Export a checkpoint to a bundle and check that the bundle gives the same results."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lstm_lm.bundle import Bundle
from lstm_lm.checkpoint import Checkpoint
from lstm_lm.errors import BundleError, CheckpointError, ConfigError
from lstm_lm.export.bundle_writer import write_bundle
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.export.model_card import model_card
from lstm_lm.export.onnx_graph import float_graph, int8_graph
from lstm_lm.export.parity import NUM_TEXTS, greedy_texts, max_difference, parity_sample, perplexity
from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.loading import BACKEND_FILES, INT8, ONNX, WEIGHTS
from lstm_lm.loading import load_model
from lstm_lm.saved_model import FORMAT, ModelMetadata, SavedModel
from lstm_lm.text.files import nan_to_none


@dataclass(frozen=True)
class Parity:
    """Comparison of one network of the bundle with the checkpoint's."""

    max_difference: float
    """Maximum absolute difference of a logit."""
    same_texts: int | None = None
    """Number of greedy continuations, out of 100, with the same words; ``None`` for the weights themselves."""
    perplexity: float | None = None
    """On the parity sample, split into several streams; ``None`` for the weights themselves."""


@dataclass(frozen=True)
class ExportReport:
    """The result of an export."""

    bundle: Bundle
    parity: dict[str, Parity]
    """Comparison of each network of the bundle with the checkpoint's, by file."""
    perplexity: float | None
    """The checkpoint's perplexity on the parity sample; ``None`` if the bundle has no graph."""
    tokens: int
    """Number of tokens in the parity sample."""
    source: str
    """Origin of the parity sample."""
    cell_has_nodes: bool
    """Whether the network's cell has ONNX nodes; a bundle without graphs runs on torch only."""

    @property
    def num_bytes(self) -> int:
        """Total size of the bundle."""
        return sum(self.bundle.files.values())


def export_bundle(
    checkpoint: str | Path,
    out: str | Path,
    config: BundleExportConfig | None = None,
    sampling: SamplingConfig | None = None,
    cache: CacheConfig | None = None,
) -> ExportReport:
    """Write a bundle, read it back, and compare each of its networks with the checkpoint's.

    Args:
        checkpoint: A checkpoint or run folder of ``lstm-lm train``.
        out: The bundle's folder.
        config: What to write and how to check it.
        sampling: Default preset of the bundle; ``None`` keeps the run's default.
        cache: The neural cache of requests that switch it on without settings; ``None`` is ``CacheConfig()``.

    Raises:
        ConfigError: If ``config``, ``sampling`` or ``cache`` has a problem.
        CheckpointError: If the checkpoint cannot be read.
        BundleError: If ``out`` holds something that must not be replaced, or a network differs; then nothing is
            written.
    """
    config = BundleExportConfig() if config is None else config
    cache = CacheConfig() if cache is None else cache
    out = Path(out)
    problems = [f"export.{problem}" for problem in config.problems()]
    problems += [f"sampling.{problem}" for problem in (sampling.problems() if sampling else [])]
    problems += [f"cache.{problem}" for problem in cache.problems()]
    if problems:
        raise ConfigError(problems)
    trained = load_model(checkpoint)
    if not isinstance(trained, Checkpoint):
        raise CheckpointError(f"{checkpoint}: is a bundle already; give the checkpoint or run folder it came from")
    presets, default_preset = trained.metadata.presets, trained.metadata.default_preset
    if sampling is not None:
        presets, default_preset = {**presets, "default": sampling}, "default"
    metadata = ModelMetadata(
        model=trained.metadata.model,
        tokenizer=trained.metadata.tokenizer,
        data=trained.metadata.data.without_local_paths(),
        presets=presets,
        default_preset=default_preset,
        cache=cache,
        metrics=nan_to_none(trained.metadata.metrics | _read_scores(config.scores)),
        training=_training(trained),
        init_from=trained.metadata.init_from,
    )
    weights = {name: tensor.contiguous().numpy() for name, tensor in trained.network.state_dict().items()}
    properties = {
        "lstm_lm.format": str(FORMAT),
        "lstm_lm.tokenizer": metadata.tokenizer,
        "lstm_lm.vocabulary_size": str(len(trained.vocabulary)),
        "lstm_lm.vocabulary_sha256": trained.vocabulary.fingerprint,
    }
    graphs = {}
    has_nodes = trained.network.cell.has_onnx_nodes()
    if config.onnx and has_nodes:
        graphs[ONNX] = float_graph(metadata.model, weights, properties)
    if config.int8 and has_nodes:
        graphs[INT8] = int8_graph(metadata.model, weights, properties)
    report = None

    def check(bundle: Bundle) -> None:
        nonlocal report
        report = _compare(trained, bundle, config)
        if failures := _parity_failures(report, config):
            raise BundleError(f"{out}: not written: {'; '.join(failures)}")

    bundle = write_bundle(
        out,
        metadata=metadata,
        weights=weights if config.weights else None,
        parameters=trained.num_parameters,
        vocabulary=trained.vocabulary,
        card=model_card(out.resolve().name, trained.network, trained.vocabulary, metadata),
        graphs=graphs,
        overwrite=config.overwrite,
        check=check,
    )
    assert report is not None
    return replace(report, bundle=bundle)


def _read_scores(files: Iterable[str]) -> dict[str, Any]:
    """Scores of ``lstm-lm eval`` by split, and by split and evaluation if it is not static.

    Raises:
        ConfigError: If a file is not one that it wrote.
    """
    scores = {}
    for file in files:
        try:
            score = json.loads(Path(file).read_bytes())
            split, evaluation = score["split"], score["evaluation"]
        except (ValueError, KeyError, TypeError) as error:
            remedy = "give the metrics.json of an lstm-lm eval run"
            raise ConfigError([f"export.scores: {file} holds no score of a split; {remedy}"]) from error
        scores[split if evaluation == "static" else f"{split} ({evaluation})"] = score
    return scores


def _training(trained: Checkpoint) -> dict[str, Any]:
    """Seed, step, precision and versions of the training; those that the checkpoint records."""
    run = trained.metadata.run
    return {name: run[name] for name in ("seed", "step", "precision", "versions") if name in run}


def _compare(trained: SavedModel, bundle: Bundle, config: BundleExportConfig) -> ExportReport:
    graphs = [name for name, file in BACKEND_FILES.items() if file in bundle.files and name != "torch"]
    sample = parity_sample(trained, config.parity_tokens)
    checkpoint = trained.backend()
    texts = greedy_texts(checkpoint, sample) if graphs else None
    parity = {}
    for name in (*(["torch"] if WEIGHTS in bundle.files else []), *reversed(graphs)):
        backend = bundle.backend(name)
        comparison = Parity(max_difference(checkpoint, backend, sample.windows))
        if texts is not None and name != "torch":
            same = int((greedy_texts(backend, sample) == texts).all(axis=1).sum())
            comparison = replace(comparison, same_texts=same, perplexity=perplexity(backend, sample))
        parity[BACKEND_FILES[name]] = comparison
    return ExportReport(
        bundle,
        parity,
        perplexity(checkpoint, sample) if graphs else None,
        len(sample.ids),
        sample.source,
        trained.network.cell.has_onnx_nodes(),
    )


def _parity_failures(report: ExportReport, config: BundleExportConfig) -> list[str]:
    failures = []
    tolerances = {
        WEIGHTS: ("parity_tolerance", config.parity_tolerance),
        ONNX: ("onnx_tolerance", config.onnx_tolerance),
    }
    for file, (name, tolerance) in tolerances.items():
        parity = report.parity.get(file)
        # written with "not" so that NaN fails
        if parity is not None and not parity.max_difference <= tolerance:
            failures.append(
                f"the logits of {file} differ from the checkpoint's by {parity.max_difference:.2e}, above "
                f"export.{name}={tolerance:g}"
            )
        elif parity is not None and parity.same_texts not in (None, NUM_TEXTS):
            failures.append(
                f"{NUM_TEXTS - parity.same_texts} of {NUM_TEXTS} greedy texts of {file} differ from the checkpoint's"
            )
    int8 = report.parity.get(INT8)
    if int8 is not None and int8.perplexity is not None and report.perplexity is not None:
        increase = int8.perplexity / report.perplexity - 1.0
        if not increase <= config.int8_tolerance:
            failures.append(
                f"{INT8} increases the perplexity by {increase:.2%}, above "
                f"export.int8_tolerance={config.int8_tolerance:g}; raise the tolerance or set export.int8=false"
            )
    return failures
