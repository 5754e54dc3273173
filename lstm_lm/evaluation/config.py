"""Evaluation settings, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lstm_lm.data.config import SPLITS, DataConfig
from lstm_lm.serialization import checked
from lstm_lm.settings import REQUIRED, Settings, setting

ACCELERATORS = ("cpu", "gpu", "auto")
EVALUATIONS = ("static", "cache", "dynamic", "dynamic_cache", "mixture", "keyboard")
COMPONENTS = ("cache", "ngram", "neighbours", "dynamic")
"""What ``mixture`` can add to the network."""

_CACHE = ("cache_window", "cache_theta", "cache_weight")
_DYNAMIC = ("lr", "decay")
_COMPONENT_SETTINGS = {"cache": _CACHE[:2], "neighbours": ("neighbours_theta",), "dynamic": _DYNAMIC}
TUNABLE = {
    "cache": _CACHE,
    "dynamic": _DYNAMIC,
    "dynamic_cache": (*_DYNAMIC, *_CACHE),
    "mixture": tuple(name for names in _COMPONENT_SETTINGS.values() for name in names),
}
"""The settings that ``tune=true`` chooses, by evaluation. A mixture has those of its components, and weights."""

DEFAULTS: dict[str, float] = {
    "cache_window": 4000,
    "cache_theta": 0.6,
    "cache_weight": 0.2,
    "lr": 1e-3,
    "decay": 3e-4,
    "neighbours_theta": 1.0,
}
"""Settings tuned for a medium model on WikiText-2."""

WEIGHTS = "weights."
"""Start of the names of a mixture's tuned weights."""

_WINDOW_LENGTH = 512  # static evaluation on a CPU takes 22 % less time than with 70
_SEGMENT_LENGTH = 16
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
        "weights after each scored segment; dynamic_cache does both; mixture combines the network with the components "
        "that are set to true; keyboard counts the keystrokes that three suggestions of the static network save.",
    )
    batch_size: int = setting(
        1, ge=1, help="Contiguous streams evaluated in parallel; with 1 the state is carried through the whole split."
    )
    window_length: int | None = setting(
        None,
        ge=1,
        special={None: f"{_SEGMENT_LENGTH} for dynamic evaluation, {_WINDOW_LENGTH} for static and keyboard"},
        help="Words per step. In dynamic evaluation, words per update of the weights; the score of static and keyboard "
        "does not depend on it, and the other evaluations do not use it.",
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
    gradient_windows: int = setting(2000, ge=1, help="Windows of train from which the gradient RMS is measured.")
    cache: bool = setting(False, help="Adds a neural cache to a mixture.")
    ngram: bool = setting(False, help="Adds an n-gram model of train to a mixture.")
    ngram_order: int = setting(5, ge=2, le=8, help="Longest n-gram.")
    neighbours: bool = setting(False, help="Adds nearest neighbours among the features of train to a mixture.")
    neighbours_k: int = setting(128, ge=1, le=1024, help="Number of neighbours.")
    neighbours_probes: int = setting(
        16, ge=1, help="Cells that a query searches, of one per 1,024 features; more are slower and more exact."
    )
    neighbours_tokens: int = setting(
        3_000_000,
        ge=1,
        help="Tokens of train, from its start, whose features are stored: in the cache folder, 2 bytes per unit of the "
        "last layer and token.",
    )
    neighbours_theta: float | None = setting(
        None, gt=0, le=100, special=_TUNED, help="How strongly nearer neighbours count more."
    )
    dynamic: bool = setting(False, help="Updates the network of a mixture after each scored segment.")
    tune_tokens: int = setting(0, ge=0, special={0: "all of valid"}, help="Tokens of valid that settings are tuned on.")

    def conflicts(self) -> list[str]:
        """Settings that this evaluation does not use."""
        problems = []
        if self.batch_size > 1 and self.name in TUNABLE:
            problems.append(
                f"batch_size: {self.name} evaluates the split as one stream (got {self.batch_size}); use 1, or "
                "evaluation=static"
            )
        if self.name == "mixture" and not self.components:
            names = " or ".join(f"{name}=true" for name in COMPONENTS)
            problems.append(f"name: mixture needs a component beside the network (got none); set {names}")
        if self.name not in EVALUATIONS:
            return problems
        for name in DEFAULTS:
            if getattr(self, name) is not None and name not in self.tunable:
                users = ", ".join(user for user, names in TUNABLE.items() if name in names)
                problems.append(f"{name}: not used by {self.label} (got {getattr(self, name)}); used by {users}")
        if self.window_length is not None and self.name in TUNABLE and not self.updates_weights:
            problems.append(
                f"window_length: not used by {self.label} (got {self.window_length}); used by static, keyboard and "
                "dynamic evaluation"
            )
        if self.name != "mixture":
            problems += [
                f"{name}: not used by {self.name} (got True); used by mixture" for name in self._enabled_components()
            ]
        return problems

    @property
    def updates_weights(self) -> bool:
        """Whether this is dynamic evaluation, alone or as a component."""
        return "lr" in self.tunable

    @property
    def words_per_window(self) -> int:
        """``window_length``, or else its default for this evaluation."""
        return self.window_length or (_SEGMENT_LENGTH if self.updates_weights else _WINDOW_LENGTH)

    @property
    def components(self) -> tuple[str, ...]:
        """What a mixture adds to the network; empty for the other evaluations."""
        return self._enabled_components() if self.name == "mixture" else ()

    @property
    def label(self) -> str:
        """The claim: the name, for a mixture with its components."""
        return "+".join((self.name, *self.components))

    @property
    def tunable(self) -> tuple[str, ...]:
        """Names of the tunable settings of this evaluation; a mixture also has weights."""
        return _tunable(self.label)

    def _enabled_components(self) -> tuple[str, ...]:
        return tuple(name for name in COMPONENTS if getattr(self, name))

    def settings(self) -> dict[str, float]:
        """The tunable settings that are not ``None``, by name."""
        return {name: getattr(self, name) for name in DEFAULTS if getattr(self, name) is not None}


@dataclass
class EvalConfig(Settings):
    """``lstm-lm eval``."""

    checkpoint: str = setting(REQUIRED, help="A checkpoint or a bundle.")
    split: str = setting("test", choices=SPLITS, help="The split to score.")
    data: DataConfig | None = None
    """The corpus; ``None`` is the one that the checkpoint was trained on."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tune: bool = setting(
        False, help="First tune the settings of the evaluation on valid and save them in the checkpoint."
    )
    accelerator: str = setting(
        "cpu",
        choices=ACCELERATORS,
        help="The kind of device; auto is a GPU if there is one.",
    )

    def conflicts(self) -> list[str]:
        """Settings of different groups that do not fit together."""
        problems = []
        if self.tune and self.evaluation.name in EVALUATIONS and not self.evaluation.tunable:
            problems.append(
                f"tune: {self.evaluation.name} has no settings to tune; choose evaluation=NAME ({', '.join(TUNABLE)})"
            )
        return problems


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


def _tunable(label: str) -> tuple[str, ...]:
    """The tunable settings of an evaluation, by its label."""
    name, *components = label.split("+")
    if name != "mixture":
        return TUNABLE.get(label, ())
    return tuple(setting for component in components for setting in _COMPONENT_SETTINGS.get(component, ()))


def checked_settings(label: str, settings: Mapping[str, object]) -> dict[str, float]:
    """Validate tuned settings from a checkpoint, which is untrusted.

    Args:
        label: The evaluation that they are for.
        settings: The settings, by name.

    Raises:
        ValueError: If a setting is unknown, or its value is invalid.
    """
    name, *components = label.split("+")
    validated: dict[str, float] = {}
    weights: dict[str, float] = {}
    for key, value in settings.items():
        kind = int if key == "cache_window" else float
        is_weight = name == "mixture" and key.startswith(WEIGHTS)
        if not is_weight and key not in _tunable(label):
            raise ValueError(f"tuned.{label}.{key}: not a setting of this evaluation")
        (weights if is_weight else validated)[key] = checked(value, kind, f"tuned.{label}.{key}")
    if unknown := set(components) - set(COMPONENTS):
        raise ValueError(f"tuned.{label}: unknown component {unknown.pop()!r}")
    enabled = dict.fromkeys(components, True)
    if problems := EvaluationConfig(name, **enabled, **validated).problems():  # type: ignore[arg-type]
        raise ValueError("; ".join(f"tuned.{label}.{problem}" for problem in problems))
    return validated | weights
