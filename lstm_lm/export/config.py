"""Config of an export."""

from dataclasses import dataclass, field
from pathlib import Path

from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.settings import REQUIRED, Settings, setting


@dataclass
class BundleExportConfig(Settings):
    """What an export writes and how it is checked."""

    weights: bool = setting(
        True, help="Write model.safetensors, the weights in float32: for eval, init_from and the torch backend."
    )
    onnx: bool = setting(True, help="Write model.onnx, which the service runs without torch.")
    int8: bool = setting(True, help="Write model.int8.onnx: a quarter of the size and several times as fast.")
    overwrite: bool = setting(False, help="Replace an existing bundle.")
    parity_tolerance: float = setting(
        1e-5, gt=0, help="Maximum absolute difference of a logit between the checkpoint and the bundle's weights."
    )
    onnx_tolerance: float = setting(
        1e-4, gt=0, help="Maximum absolute difference of a logit between the checkpoint and model.onnx."
    )
    int8_tolerance: float = setting(
        0.01, gt=0, help="Maximum relative increase of perplexity from the checkpoint to model.int8.onnx."
    )
    parity_tokens: int = setting(
        8192, ge=0, special={0: "the whole split"}, help="Number of tokens of valid to compare perplexities on."
    )
    scores: list[str] = setting(
        [], help="Files metrics.json of lstm-lm eval whose scores go into the bundle and on its model card."
    )

    def conflicts(self) -> list[str]:
        """Nothing to run, and files that are not there."""
        problems = []
        if not (self.weights or self.onnx or self.int8):
            problems.append("weights: a bundle needs weights, onnx or int8; set one of them to true")
        problems += [
            f"scores: {path} is not a file; give the metrics.json of an lstm-lm eval run"
            for path in self.scores
            if not Path(path).is_file()
        ]
        return problems


@dataclass
class ExportConfig(Settings):
    """``lstm-lm export``."""

    checkpoint: str = setting(REQUIRED, help="The checkpoint to export.")
    out: str = setting(REQUIRED, help="The folder of the bundle.")
    export: BundleExportConfig = field(default_factory=BundleExportConfig)
    sampling: SamplingConfig | None = None
    """Default preset of the bundle; ``None`` keeps the run's default."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    """The neural cache of requests that switch it on without settings."""
