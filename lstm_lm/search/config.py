"""Settings of a search."""

from dataclasses import dataclass
from pathlib import Path

from lstm_lm.settings import Settings, setting

SAMPLERS = ("tpe", "grid", "random")
PRUNERS = ("median", "hyperband", "none")


@dataclass
class SearchConfig(Settings):
    """How a study searches."""

    study: str = setting("study", help="Name of the study; one of the same name and storage continues.")
    storage: str | None = setting(
        None,
        special={None: "a SQLite file in the study's folder"},
        help="Optuna storage URL, as postgresql+psycopg://USER@HOST/NAME, which several machines can share.",
    )
    trials: int = setting(20, ge=1, help="Trials in the whole study, pruned and failed ones included.")
    sampler: str = setting("tpe", choices=SAMPLERS, help="tpe is the tree-structured Parzen estimator.")
    pruner: str = setting(
        "median",
        choices=PRUNERS,
        help="Stops a trial after a validation. median: it is worse than the median of the others at that point.",
    )
    startup_trials: int = setting(5, ge=0, help="Trials that finish before median prunes one.")
    seeds: int = setting(1, ge=1, help="Seeds of each trial; its value is their mean.")
    heartbeat: int = setting(
        60, ge=1, help="Seconds between signs of life of a trial; without one for twice as long, it is repeated."
    )

    def conflicts(self) -> list[str]:
        """The study is the name of a folder."""
        if self.study in ("", ".", "..") or Path(self.study).name != self.study:
            return [f"study: must be the name of a folder, without a path (got '{self.study}')"]
        return []

    def storage_url(self, folder: Path) -> str:
        """The storage, by default a file in ``folder``."""
        return self.storage or f"sqlite:///{(folder / 'study.db').absolute()}"
