"""What an export writes, as plain data."""

from dataclasses import dataclass


@dataclass
class ExportSpec:
    """The settings of an export.

    Attributes:
        overwrite: Replace a bundle that is already there.
        parity_tolerance: Largest difference of a logit between checkpoint and reloaded bundle.
    """

    overwrite: bool = False
    parity_tolerance: float = 1e-5

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        if self.parity_tolerance <= 0.0:
            return [f"parity_tolerance: must be above 0 (got {self.parity_tolerance}); try 1e-5"]
        return []
