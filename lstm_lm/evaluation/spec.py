"""How a split is scored, as plain data."""

from dataclasses import dataclass

EVALUATIONS = ("static", "keyboard")


@dataclass
class EvaluationSpec:
    """The settings of an evaluation.

    Attributes:
        name: ``static``: weights and state rule alone, nothing is learnt from the text that is scored; ``keyboard``:
            the same network behind a bar of three suggestions, keystrokes counted.
        batch_size: Contiguous columns that are read at one time; 1 carries the state through the whole split.
        window_length: Words a step; changes speed and memory, not the score.
    """

    name: str = "static"
    batch_size: int = 1
    window_length: int = 70

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.name not in EVALUATIONS:
            found.append(f"name: unknown evaluation (got {self.name!r}); use one of {', '.join(EVALUATIONS)}")
        for name in ("batch_size", "window_length"):
            if getattr(self, name) < 1:
                found.append(f"{name}: must be at least 1 (got {getattr(self, name)})")
        return found
