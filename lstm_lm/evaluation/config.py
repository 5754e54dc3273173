"""How a split is scored, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass

from lstm_lm.serialization import checked

EVALUATIONS = ("static", "cache", "dynamic", "dynamic_cache", "keyboard")

_CACHE = ("cache_window", "cache_theta", "cache_weight")
_DYNAMIC = ("lr", "decay")
# what `tune=true` can choose, by evaluation
TUNABLE = {"cache": _CACHE, "dynamic": _DYNAMIC, "dynamic_cache": (*_DYNAMIC, *_CACHE)}

# of a medium model on WikiText-2; a model's own are found by tuning
DEFAULTS: dict[str, float] = {"cache_window": 4000, "cache_theta": 0.6, "cache_weight": 0.2, "lr": 2e-3, "decay": 5e-3}


@dataclass
class EvaluationConfig:
    """The settings of an evaluation.

    A setting that can be tuned is ``None`` where it is not given: then it is the one that tuning saved with the
    checkpoint, and without that a default (:func:`resolve_settings`).

    Attributes:
        name: ``static``: weights and state rule alone, nothing is learnt from the text that is scored; ``cache``: words
            seen before count again where the context is alike; ``dynamic``: the weights learn from every segment once
            it is scored; ``dynamic_cache``: both; ``keyboard``: the static network behind a bar of three suggestions,
            keystrokes counted.
        batch_size: Contiguous columns that are read at one time; 1 carries the state through the whole split.
        window_length: Words a step; changes speed and memory, not the score, but for the dynamic ones, whose weights
            learn once a window.
        cache_window: Words back that the cache holds; 0 is all.
        cache_theta: How much more a place counts whose context resembles the present one; 0 counts all alike.
        cache_weight: Share of the cache in the mixture, the lambda of Grave et al. 2017; 0 switches it off.
        lr: How far the weights go along a gradient, which is divided by its usual size.
        decay: Share of their way back to the trained weights that weights of the usual gradient go in each step.
        gradient_windows: Windows of train from which the usual size of the gradients is taken.
        tune_tokens: Tokens of valid on which settings are tuned; 0 is all.
    """

    name: str = "static"
    batch_size: int = 1
    window_length: int = 70
    cache_window: int | None = None
    cache_theta: float | None = None
    cache_weight: float | None = None
    lr: float | None = None
    decay: float | None = None
    gradient_windows: int = 500
    tune_tokens: int = 0

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.name not in EVALUATIONS:
            found.append(f"name: unknown evaluation (got {self.name!r}); use one of {', '.join(EVALUATIONS)}")
        for name in ("batch_size", "window_length", "gradient_windows"):
            if getattr(self, name) < 1:
                found.append(f"{name}: must be at least 1 (got {getattr(self, name)})")
        if self.batch_size > 1 and self.name in TUNABLE:
            found.append(
                f"batch_size: {self.name} reads the split as one stream (got {self.batch_size}); use 1, or "
                "evaluation=static"
            )
        found += _setting_problems(self.settings())
        if self.tune_tokens < 0:
            found.append(f"tune_tokens: must not be negative (got {self.tune_tokens}); 0 is all of valid")
        unused = [name for name in DEFAULTS if getattr(self, name) is not None and name not in self.tunable]
        for name in unused if self.name in EVALUATIONS else []:
            users = ", ".join(user for user, names in TUNABLE.items() if name in names)
            found.append(f"{name}: {self.name} has no use for it (got {getattr(self, name)}); it belongs to {users}")
        return found

    @property
    def tunable(self) -> tuple[str, ...]:
        """The settings of this evaluation that can be tuned."""
        return TUNABLE.get(self.name, ())

    def settings(self) -> dict[str, float]:
        """The tunable settings that are given, by name."""
        return {name: getattr(self, name) for name in DEFAULTS if getattr(self, name) is not None}


def resolve_settings(config: EvaluationConfig, tuned: Mapping[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    """The settings that an evaluation runs with: given ones first, then tuned ones, then defaults.

    Args:
        config: What is given.
        tuned: What tuning saved with the checkpoint for this evaluation.

    Returns:
        The settings by name, and where each comes from: ``given``, ``tuned`` or ``default``. Both are empty for an
        evaluation that has none.
    """
    given = config.settings()
    sources = {name: "given" if name in given else "tuned" if name in tuned else "default" for name in config.tunable}
    values = {"given": given, "tuned": tuned, "default": DEFAULTS}
    return {name: values[source][name] for name, source in sources.items()}, sources


def checked_settings(name: str, settings: Mapping[str, object]) -> dict[str, float]:
    """Tuned settings out of a checkpoint, which somebody else may have written.

    Args:
        name: The evaluation that they are for.
        settings: By name.

    Raises:
        ValueError: If one is unknown or has no possible value.
    """
    found: dict[str, float] = {}
    for setting, value in settings.items():
        kind = int if setting == "cache_window" else float
        if setting not in TUNABLE.get(name, ()):
            raise ValueError(f"tuned.{name}.{setting}: no setting of an evaluation")
        found[setting] = checked(value, kind, f"tuned.{name}.{setting}")
    if problems := _setting_problems(found):
        raise ValueError("; ".join(f"tuned.{name}.{problem}" for problem in problems))
    return found


def _setting_problems(settings: Mapping[str, float]) -> list[str]:
    found = []
    for name, value in settings.items():
        highest = {"cache_theta": 100.0, "cache_weight": 1.0, "lr": 1.0, "decay": 1.0}.get(name)
        if highest is None and value < 0:
            found.append(f"{name}: must not be negative (got {value}); 0 is all that was read")
        elif highest is not None and not 0.0 <= value <= highest:
            found.append(f"{name}: must be from 0 to {highest:g} (got {value})")
    return found
