"""Evaluation settings, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass

from lstm_lm.serialization import checked
from lstm_lm.settings import Settings, setting

EVALUATIONS = ("static", "cache", "dynamic", "dynamic_cache", "keyboard")

_CACHE = ("cache_window", "cache_theta", "cache_weight")
_DYNAMIC = ("lr", "decay")
TUNABLE = {"cache": _CACHE, "dynamic": _DYNAMIC, "dynamic_cache": (*_DYNAMIC, *_CACHE)}
"""The settings that ``tune=true`` chooses, by evaluation."""

DEFAULTS: dict[str, float] = {"cache_window": 4000, "cache_theta": 0.6, "cache_weight": 0.2, "lr": 2e-3, "decay": 5e-3}
"""Settings tuned for a medium model on WikiText-2."""

_TUNED = {None: "the value that tuning saved, or else its default"}


@dataclass
class EvaluationConfig(Settings):
    """The settings of an evaluation.

    A tunable setting of ``None`` takes the value that tuning saved with the checkpoint, or else its default
    (:func:`resolve_settings`).
    """

    name: str = setting(
        "static",
        choices=EVALUATIONS,
        help="static keeps the weights fixed; cache mixes in a neural cache of recent words; dynamic updates the "
        "weights after each scored segment; dynamic_cache does both; keyboard counts the keystrokes that three "
        "suggestions of the static network save.",
    )
    batch_size: int = setting(
        1, ge=1, help="Contiguous streams evaluated in parallel; with 1 the state is carried through the whole split."
    )
    window_length: int = setting(
        70,
        ge=1,
        help="Words per step. Changes only speed and memory, except in dynamic evaluation, which updates once per "
        "window.",
    )
    cache_window: int | None = setting(
        None, ge=0, special={0: "all previous words", **_TUNED}, help="Number of previous words in the cache."
    )
    cache_theta: float | None = setting(
        None,
        ge=0,
        le=100,
        special=_TUNED,
        help="How strongly the cache prefers positions with a similar context; 0 weights all positions equally.",
    )
    cache_weight: float | None = setting(
        None,
        ge=0,
        le=1,
        special={0: "off", **_TUNED},
        help="Share of the cache in the mixture, the lambda of Grave et al. 2017.",
    )
    lr: float | None = setting(
        None,
        ge=0,
        le=1,
        special=_TUNED,
        help="Learning rate of dynamic evaluation, whose gradients are divided by their RMS.",
    )
    decay: float | None = setting(
        None,
        ge=0,
        le=1,
        special=_TUNED,
        help="Decay towards the trained weights per update, for a weight with the mean gradient RMS.",
    )
    gradient_windows: int = setting(500, ge=1, help="Windows of train from which the gradient RMS is measured.")
    tune_tokens: int = setting(0, ge=0, special={0: "all of valid"}, help="Tokens of valid that settings are tuned on.")

    def conflicts(self) -> list[str]:
        """Settings that this evaluation does not use."""
        problems = []
        if self.batch_size > 1 and self.name in TUNABLE:
            problems.append(
                f"batch_size: {self.name} evaluates the split as one stream (got {self.batch_size}); use 1, or "
                "evaluation=static"
            )
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
    for key, value in settings.items():
        kind = int if key == "cache_window" else float
        if key not in TUNABLE.get(name, ()):
            raise ValueError(f"tuned.{name}.{key}: not a setting of this evaluation")
        validated[key] = checked(value, kind, f"tuned.{name}.{key}")
    if problems := EvaluationConfig(name, **validated).problems():  # type: ignore[arg-type]
        raise ValueError("; ".join(f"tuned.{name}.{problem}" for problem in problems))
    return validated
