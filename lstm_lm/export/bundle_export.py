"""From a checkpoint to a bundle that is shown to give the same numbers."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_lm.bundle import Bundle, load_engine, write_bundle
from lstm_lm.data.encoding import encode_split
from lstm_lm.data.spec import DataSpec
from lstm_lm.errors import BundleError, ConfigError, DataError
from lstm_lm.export.card import model_card
from lstm_lm.export.checkpoint import TrainedModel, read_checkpoint
from lstm_lm.export.spec import ExportSpec
from lstm_lm.inference.spec import SamplingSpec
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.text.files import finite

# enough for each weight of the network to have its say, and a second's work at most
_COLUMNS, _STEPS = 8, 32


@dataclass(frozen=True)
class Parity:
    """How near the bundle's logits are to the checkpoint's.

    Attributes:
        max_difference: Largest difference of a logit.
        tokens: Tokens after which all logits were compared.
        source: Where the tokens came from.
    """

    max_difference: float
    tokens: int
    source: str


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        bundle: The bundle.
        parity: Its comparison with the checkpoint.
    """

    bundle: Bundle
    parity: Parity

    @property
    def num_bytes(self) -> int:
        """Size of the bundle."""
        return sum(self.bundle.files.values())


def export_bundle(
    checkpoint: Path, out: Path, spec: ExportSpec | None = None, sampling: SamplingSpec | None = None
) -> ExportReport:
    """Write a bundle, read it back, and compare its logits with those of the checkpoint.

    Args:
        checkpoint: A checkpoint of ``lstm-lm train``.
        out: The bundle's folder.
        spec: What is written and how it is checked.
        sampling: The preset that the bundle answers with by default; ``None`` is the run's own.

    Raises:
        ConfigError: If ``spec`` or ``sampling`` has a problem.
        CheckpointError: If the checkpoint cannot be read.
        BundleError: If ``out`` holds something that must stay, or the logits differ; nothing is left behind.
    """
    spec = ExportSpec() if spec is None else spec
    problems = [f"export.{problem}" for problem in spec.problems()]
    problems += [f"sampling.{problem}" for problem in (sampling.problems() if sampling else [])]
    if problems:
        raise ConfigError(problems)
    trained = read_checkpoint(checkpoint)
    presets, default_preset = trained.presets, trained.default_preset
    if sampling is not None:
        presets, default_preset = {**presets, "default": sampling}, "default"
    ids, source = _parity_ids(trained)
    parity = Parity(math.inf, ids.size, source)

    def check(bundle: Bundle) -> None:
        nonlocal parity
        parity = replace(parity, max_difference=_largest_difference(trained, bundle, ids))
        if not parity.max_difference <= spec.parity_tolerance:
            raise BundleError(
                f"{out}: not written, as its logits differ by {parity.max_difference:.2e} from the checkpoint's, "
                f"more than export.parity_tolerance={spec.parity_tolerance:g} allows"
            )

    bundle = write_bundle(
        out,
        model=trained.spec,
        weights={name: tensor.contiguous().numpy() for name, tensor in trained.model.state_dict().items()},
        vocabulary=trained.vocabulary,
        tokenizer=trained.tokenizer,
        data=_portable(trained.data),
        metrics=finite(trained.metrics),
        presets=presets,
        default_preset=default_preset,
        card=model_card(out.resolve().name, trained, presets, default_preset),
        overwrite=spec.overwrite,
        check=check,
    )
    return ExportReport(bundle, parity)


def _parity_ids(trained: TrainedModel) -> tuple[NDArray[np.int64], str]:
    """Windows to compare on (B, T): of the valid split, or drawn by train frequency where the corpus is not here."""
    count = _COLUMNS * _STEPS
    try:
        valid = encode_split(trained.data, "valid", trained.vocabulary)[:count].astype(np.int64)
    except (DataError, ConfigError):
        valid = np.zeros(0, dtype=np.int64)
    if len(valid) == count:
        return valid.reshape(_COLUMNS, _STEPS), "the valid split"
    counts = np.maximum(np.asarray(trained.vocabulary.counts, dtype=np.float64), 1.0)
    drawn = np.random.default_rng(0).choice(len(counts), size=(_COLUMNS, _STEPS), p=counts / counts.sum())
    return drawn, "words drawn as often as train has them"


def _largest_difference(trained: TrainedModel, bundle: Bundle, ids: NDArray[np.int64]) -> float:
    """Largest difference of a logit when checkpoint and bundle read the same words, one a step as the service does."""
    ours, theirs = TorchBackend(trained.model), load_engine(bundle).backend
    our_state, their_state = ours.initial_state(len(ids)), theirs.initial_state(len(ids))
    largest = 0.0
    for step in range(ids.shape[1]):
        column = np.ascontiguousarray(ids[:, step : step + 1])
        expected, our_state = ours.step(column, our_state)
        logits, their_state = theirs.step(column, their_state)
        largest = max(largest, float(np.abs(logits - expected).max()))
    return largest


def _portable(data: DataSpec) -> dict[str, Any]:
    """The corpus without places on this machine, which are nobody else's business."""
    local_hub = data.hub_path is not None and Path(data.hub_path).exists()
    return asdict(replace(data, dir=None, cache_dir=None, hub_path=None if local_hub else data.hub_path))
