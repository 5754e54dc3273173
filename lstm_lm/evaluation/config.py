"""Evaluation settings, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass

from lstm_lm.serialization import checked

EVALUATIONS = ("static", "cache", "dynamic", "dynamic_cache", "keyboard")

_CACHE = ("cache_window", "cache_theta", "cache_weight")
_DYNAMIC = ("lr", "decay")
TUNABLE = {"cache": _CACHE, "dynamic": _DYNAMIC, "dynamic_cache": (*_DYNAMIC, *_CACHE)}
"""The settings that ``tune=true`` chooses, by evaluation."""

DEFAULTS: dict[str, float] = {"cache_window": 4000, "cache_theta": 0.6, "cache_weight": 0.2, "lr": 2e-3, "decay": 5e-3}
"""Settings tuned for a medium model on WikiText-2."""


@dataclass
class EvaluationConfig:
    """The settings of an evaluation.

    A tunable setting of ``None`` takes the value that tuning saved with the checkpoint, or else its default
    (:func:`resolve_settings`).
    """

    name: str = "static"
    """The kind of evaluation.

    ``static``: fixed weights. ``cache``: mixed with a neural cache of recent words. ``dynamic``: the
    weights are updated after each scored segment. ``dynamic_cache``: both. ``keyboard``: keystrokes that three
    suggestions of the static network save.
    """
    batch_size: int = 1
    """Contiguous streams evaluated in parallel; with 1 the state is carried through the whole split."""
    window_length: int = 70
    """Words per step. Changes only speed and memory, except in dynamic evaluation, which updates once per window."""
    cache_window: int | None = None
    """Number of previous words in the cache; 0 is all."""
    cache_theta: float | None = None
    """How strongly the cache prefers positions with a similar context; 0 weights all positions equally."""
    cache_weight: float | None = None
    """Share of the cache in the mixture, the lambda of Grave et al. 2017; 0 is off."""
    lr: float | None = None
    """Learning rate of dynamic evaluation, whose gradients are divided by their RMS."""
    decay: float | None = None
    """Decay towards the trained weights per update, for a weight with the mean gradient RMS."""
    gradient_windows: int = 500
    """Windows of train from which the gradient RMS is measured."""
    tune_tokens: int = 0
    """Tokens of valid that settings are tuned on; 0 is all."""

    def problems(self) -> list[str]:
        """All errors, each as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.name not in EVALUATIONS:
            problems.append(f"name: unknown evaluation (got {self.name!r}); use one of {', '.join(EVALUATIONS)}")
        for name in ("batch_size", "window_length", "gradient_windows"):
            if getattr(self, name) < 1:
                problems.append(f"{name}: must be at least 1 (got {getattr(self, name)})")
        if self.batch_size > 1 and self.name in TUNABLE:
            problems.append(
                f"batch_size: {self.name} evaluates the split as one stream (got {self.batch_size}); use 1, or "
                "evaluation=static"
            )
        problems += _setting_problems(self.settings())
        if self.tune_tokens < 0:
            problems.append(f"tune_tokens: must not be negative (got {self.tune_tokens}); 0 is all of valid")
        unused = [name for name in DEFAULTS if getattr(self, name) is not None and name not in self.tunable]
        for name in unused if self.name in EVALUATIONS else []:
            users = ", ".join(user for user, names in TUNABLE.items() if name in names)
            problems.append(f"{name}: not used by {self.name} (got {getattr(self, name)}); used by {users}")
        return problems

    @property
    def tunable(self) -> tuple[str, ...]:
        """Names of the tunable settings of this evaluation."""
        return TUNABLE.get(self.name, ())

    def settings(self) -> dict[str, float]:
        """The tunable settings that are not ``None``, by name."""
        return {name: getattr(self, name) for name in DEFAULTS if getattr(self, name) is not None}


def resolve_settings(config: EvaluationConfig, tuned: Mapping[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    """The effective settings of an evaluation: given, else tuned, else default.

    Args:
        config: The given settings.
        tuned: The settings that tuning saved with the checkpoint for this evaluation.

    Returns:
        The settings by name, and the source of each: ``given``, ``tuned`` or ``default``. Both are empty for an
        evaluation without tunable settings.
    """
    given = config.settings()
    sources = {name: "given" if name in given else "tuned" if name in tuned else "default" for name in config.tunable}
    values = {"given": given, "tuned": tuned, "default": DEFAULTS}
    return {name: values[source][name] for name, source in sources.items()}, sources


def checked_settings(name: str, settings: Mapping[str, object]) -> dict[str, float]:
    """Validate tuned settings from a checkpoint, which is untrusted.

    Args:
        name: The evaluation that they are for.
        settings: The settings, by name.

    Raises:
        ValueError: If a setting is unknown, or its value is invalid.
    """
    validated: dict[str, float] = {}
    for setting, value in settings.items():
        kind = int if setting == "cache_window" else float
        if setting not in TUNABLE.get(name, ()):
            raise ValueError(f"tuned.{name}.{setting}: not a setting of this evaluation")
        validated[setting] = checked(value, kind, f"tuned.{name}.{setting}")
    if problems := _setting_problems(validated):
        raise ValueError("; ".join(f"tuned.{name}.{problem}" for problem in problems))
    return validated


def _setting_problems(settings: Mapping[str, float]) -> list[str]:
    problems = []
    for name, value in settings.items():
        highest = {"cache_theta": 100.0, "cache_weight": 1.0, "lr": 1.0, "decay": 1.0}.get(name)
        if highest is None and value < 0:
            problems.append(f"{name}: must not be negative (got {value}); 0 is all previous words")
        elif highest is not None and not 0.0 <= value <= highest:
            problems.append(f"{name}: must be from 0 to {highest:g} (got {value})")
    return problems
