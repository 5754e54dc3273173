"""Config of an export."""

from dataclasses import dataclass


@dataclass
class BundleExportConfig:
    """What an export writes and how it is checked."""

    onnx: bool = True
    """Write ``model.onnx``, which the service runs without torch."""
    int8: bool = True
    """Write ``model.int8.onnx``: a quarter of the size and several times as fast."""
    overwrite: bool = False
    """Replace an existing bundle."""
    parity_tolerance: float = 1e-5
    """Maximum absolute difference of a logit between the checkpoint and the bundle's weights."""
    onnx_tolerance: float = 1e-4
    """Maximum absolute difference of a logit between the checkpoint and ``model.onnx``."""
    int8_tolerance: float = 0.01
    """Maximum relative increase of perplexity from the checkpoint to ``model.int8.onnx``."""
    parity_tokens: int = 8192
    """Number of tokens of valid to compare perplexities on; 0 means the whole split."""

    def problems(self) -> list[str]:
        """Every invalid field, as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        for name, remedy in (("parity_tolerance", "1e-5"), ("onnx_tolerance", "1e-4"), ("int8_tolerance", "0.01")):
            if getattr(self, name) <= 0.0:
                problems.append(f"{name}: must be above 0 (got {getattr(self, name)}); try {remedy}")
        if self.parity_tokens < 0:
            problems.append(f"parity_tokens: must not be negative (got {self.parity_tokens}); 0 is the whole split")
        return problems
