"""Settings of a search."""

from dataclasses import dataclass, field
from pathlib import Path

SAMPLERS = ("tpe", "grid", "random")
PRUNERS = ("median", "hyperband", "none")


@dataclass
class SearchConfig:
    """A study: what is searched, how, and where its trials are stored."""

    study: str = "study"
    """Name of the study. Started again with the same name and storage, it continues."""
    storage: str | None = None
    """Optuna storage URL, as ``postgresql+psycopg://host/name``, which several machines can share; ``None`` is a SQLite
    file in the study's folder."""
    trials: int = 20
    """Trials in the whole study, pruned ones included."""
    sampler: str = "tpe"
    """``tpe`` (tree-structured Parzen estimator, Bergstra et al. 2011), ``grid`` or ``random``."""
    pruner: str = "median"
    """Stops a trial at a validation: ``median`` if it is worse than half of the others at that point, ``hyperband`` (Li
    et al. 2018), ``none``."""
    startup_trials: int = 5
    """Trials that finish before any is pruned (median)."""
    seeds: int = 1
    """Seeds per trial; the value is their mean."""
    heartbeat: int = 60
    """Seconds between two signs of life of a running trial. A trial without one for twice as long is repeated."""
    params: dict[str, str] = field(default_factory=dict)
    """Settings to vary in Hydra's sweep grammar, besides those of the command line."""

    def storage_url(self, folder: Path) -> str:
        """The storage, by default a file in ``folder``."""
        return self.storage or f"sqlite:///{(folder / 'study.db').absolute()}"
