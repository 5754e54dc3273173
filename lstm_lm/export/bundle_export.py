"""From a checkpoint to a bundle that is shown to give the same numbers."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lstm_lm.bundle import Bundle, build_engine, write_bundle
from lstm_lm.data.config import DataConfig
from lstm_lm.errors import BundleError, CheckpointError, ConfigError
from lstm_lm.export.checkpoint import TrainedModel, read_checkpoint
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.export.model_card import model_card
from lstm_lm.export.model_path import resolve_model_path
from lstm_lm.export.onnx_graph import float_graph, int8_graph
from lstm_lm.export.parity import NUM_TEXTS, greedy_texts, largest_difference, parity_sample, perplexity
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.loading import BACKEND_FILES, INT8, ONNX, WEIGHTS
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.text.files import nan_to_none


@dataclass(frozen=True)
class Parity:
    """How near a network of the bundle is to the checkpoint's.

    Attributes:
        max_difference: Largest difference of a logit.
        same_texts: Of 100 texts that were gone on with greedily, those with the same words; ``None`` where the weights
            themselves are the same.
        perplexity: On the words compared, read as several columns; ``None`` where the weights are the same.
    """

    max_difference: float
    same_texts: int | None = None
    perplexity: float | None = None


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        bundle: The bundle.
        parity: Comparison of each of its networks with the checkpoint's, by file.
        perplexity: The checkpoint's own; ``None`` where nothing but the weights was written.
        tokens: Words that were scored.
        source: Where they came from.
    """

    bundle: Bundle
    parity: dict[str, Parity]
    perplexity: float | None
    tokens: int
    source: str

    @property
    def num_bytes(self) -> int:
        """Size of the bundle."""
        return sum(self.bundle.files.values())


def export_bundle(
    checkpoint: Path, out: Path, config: BundleExportConfig | None = None, sampling: SamplingConfig | None = None
) -> ExportReport:
    """Write a bundle, read it back, and compare each of its networks with that of the checkpoint.

    Args:
        checkpoint: A checkpoint or run folder of ``lstm-lm train``.
        out: The bundle's folder.
        config: What is written and how it is checked.
        sampling: The preset that the bundle answers with by default; ``None`` is the run's own.

    Raises:
        ConfigError: If ``config`` or ``sampling`` has a problem.
        CheckpointError: If the checkpoint cannot be read.
        BundleError: If ``out`` holds something that must stay, or a network differs; nothing is left behind.
    """
    config = BundleExportConfig() if config is None else config
    problems = [f"export.{problem}" for problem in config.problems()]
    problems += [f"sampling.{problem}" for problem in (sampling.problems() if sampling else [])]
    if problems:
        raise ConfigError(problems)
    source = resolve_model_path(checkpoint)
    if source.is_dir():
        raise CheckpointError(f"{checkpoint}: is a bundle already; give the checkpoint or run folder it came from")
    trained = read_checkpoint(source)
    presets, default_preset = trained.presets, trained.default_preset
    if sampling is not None:
        presets, default_preset = {**presets, "default": sampling}, "default"
    weights = {name: tensor.contiguous().numpy() for name, tensor in trained.model.state_dict().items()}
    graphs = {}
    if config.onnx:
        graphs[ONNX] = float_graph(trained.config, weights)
    if config.int8:
        graphs[INT8] = int8_graph(trained.config, weights)
    report = None

    def check(bundle: Bundle) -> None:
        nonlocal report
        report = _compared(trained, bundle, config)
        if refusals := _refusals(report, config):
            raise BundleError(f"{out}: not written, as {'; '.join(refusals)}")

    bundle = write_bundle(
        out,
        model=trained.config,
        weights=weights,
        vocabulary=trained.vocabulary,
        tokenizer=trained.tokenizer,
        data=_portable(trained.data),
        metrics=nan_to_none(trained.metrics),
        presets=presets,
        default_preset=default_preset,
        card=model_card(out.resolve().name, trained, presets, default_preset),
        graphs=graphs,
        overwrite=config.overwrite,
        check=check,
    )
    assert report is not None
    return replace(report, bundle=bundle)


def _compared(trained: TrainedModel, bundle: Bundle, config: BundleExportConfig) -> ExportReport:
    graphs = [name for name, file in BACKEND_FILES.items() if file in bundle.files and name != "torch"]
    sample = parity_sample(trained, config.parity_tokens)
    checkpoint = TorchBackend(trained.model)
    texts = greedy_texts(checkpoint, sample) if graphs else None
    parity = {}
    for name in ("torch", *reversed(graphs)):
        backend = build_engine(bundle, name).backend
        found = Parity(largest_difference(checkpoint, backend, sample.windows))
        if texts is not None and name != "torch":
            same = int((greedy_texts(backend, sample) == texts).all(axis=1).sum())
            found = replace(found, same_texts=same, perplexity=perplexity(backend, sample))
        parity[BACKEND_FILES[name]] = found
    return ExportReport(
        bundle, parity, perplexity(checkpoint, sample) if graphs else None, len(sample.ids), sample.source
    )


def _refusals(report: ExportReport, config: BundleExportConfig) -> list[str]:
    """Why the bundle must not be written."""
    found = []
    tolerances = {
        WEIGHTS: ("parity_tolerance", config.parity_tolerance),
        ONNX: ("onnx_tolerance", config.onnx_tolerance),
    }
    for file, (name, tolerance) in tolerances.items():
        parity = report.parity.get(file)
        # NaN is not within any tolerance
        if parity is not None and not parity.max_difference <= tolerance:
            found.append(
                f"the logits of {file} differ by {parity.max_difference:.2e} from the checkpoint's, more than "
                f"export.{name}={tolerance:g} allows"
            )
        elif parity is not None and parity.same_texts not in (None, NUM_TEXTS):
            found.append(
                f"{NUM_TEXTS - parity.same_texts} of {NUM_TEXTS} greedy texts of {file} are not the checkpoint's"
            )
    rounded = report.parity.get(INT8)
    if rounded is not None and rounded.perplexity is not None and report.perplexity is not None:
        rise = rounded.perplexity / report.perplexity - 1.0
        if not rise <= config.int8_tolerance:
            found.append(
                f"{INT8} raises the perplexity by {rise:.2%}, above export.int8_tolerance={config.int8_tolerance:g}; "
                "raise the tolerance, or leave the file out with export.int8=false"
            )
    return found


def _portable(data: DataConfig) -> dict[str, Any]:
    """The corpus without places on this machine, which are nobody else's business."""
    local_hub = data.hub_path is not None and Path(data.hub_path).exists()
    return asdict(replace(data, dir=None, cache_dir=None, hub_path=None if local_hub else data.hub_path))
