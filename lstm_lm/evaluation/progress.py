"""Types of the progress callbacks."""

from collections.abc import Callable
from typing import TypeAlias

ProgressCallback: TypeAlias = Callable[[int, int], None]
"""Called with the amount done and the total."""
StageProgressCallback: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of the stage, the amount done and the total."""
