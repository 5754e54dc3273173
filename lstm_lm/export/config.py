"""What an export writes, as plain data."""

from dataclasses import dataclass


@dataclass
class BundleExportConfig:
    """The settings of an export.

    Attributes:
        onnx: Write ``model.onnx``, with which the service runs without torch.
        int8: Write ``model.int8.onnx``, a quarter as large and several times as fast.
        overwrite: Replace a bundle that is already there.
        parity_tolerance: Largest difference of a logit between checkpoint and reloaded bundle.
        onnx_tolerance: Largest difference of a logit between checkpoint and ``model.onnx``.
        int8_tolerance: Largest rise of perplexity from checkpoint to ``model.int8.onnx``, as a share.
        parity_tokens: Words of the valid split to score all of them on; 0 is the whole split.
    """

    onnx: bool = True
    int8: bool = True
    overwrite: bool = False
    parity_tolerance: float = 1e-5
    onnx_tolerance: float = 1e-4
    int8_tolerance: float = 0.01
    parity_tokens: int = 8192

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        for name, remedy in (("parity_tolerance", "1e-5"), ("onnx_tolerance", "1e-4"), ("int8_tolerance", "0.01")):
            if getattr(self, name) <= 0.0:
                found.append(f"{name}: must be above 0 (got {getattr(self, name)}); try {remedy}")
        if self.parity_tokens < 0:
            found.append(f"parity_tokens: must not be negative (got {self.parity_tokens}); 0 is the whole split")
        return found
