"""Help texts of the commands that take overrides: config groups, options and settings, without importing Hydra."""

import textwrap
from importlib.resources import files

from lstm_lm.config.schema import SCHEMAS
from lstm_lm.settings import REQUIRED, all_settings, show

_GROUPS = {
    "train": (
        "experiment", "data", "batching", "model", "cell", "loss", "optimizer", "schedule", "averaging", "trainer",
        "callbacks", "logger", "sampling",
    ),
    "eval": ("evaluation", "data"),
    "export": ("export", "sampling"),
    "data": ("data", "batching", "experiment"),
}  # fmt: skip

_DESCRIPTIONS = {
    "train": (
        "Train a model. Checkpoints, TensorBoard event files, train.log and metrics.json are written to the run folder."
    ),
    "eval": "Score a checkpoint or a bundle on a split. The result is written to metrics.json in the run folder.",
    "export": "Export a checkpoint to a bundle, the folder that predict, generate and serve load, and verify it.",
    "data": "Show the corpus that a training run would use, and compare its first windows with the text.",
}

_EXAMPLES = {
    "train": (
        "lstm-lm train experiment=quickstart",
        "lstm-lm train model=medium optimizer=adamw optimizer.lr=3e-3 trainer.max_epochs=5",
        "lstm-lm train data=text_files data.dir=FOLDER",
        "lstm-lm train -m model=tiny,small optimizer.lr=1e-3,3e-3",
        "lstm-lm train resume=RUN trainer.max_epochs=20",
    ),
    "eval": (
        "lstm-lm eval checkpoint=RUN/checkpoints/best.ckpt",
        "lstm-lm eval checkpoint=exports/mine split=valid data=text_files data.dir=FOLDER",
    ),
    "export": ("lstm-lm export checkpoint=RUN/checkpoints/best.ckpt out=exports/mine",),
    "data": ("lstm-lm data data=python_docs", "lstm-lm data data=text_files data.dir=FOLDER data.min_count=3"),
}


def wants_help(argv: list[str]) -> bool:
    """Whether the arguments contain ``--help`` or ``-h``."""
    return "-h" in argv or "--help" in argv


def command_help(command: str) -> str:
    """The help text of a command."""
    width = max(map(len, _GROUPS[command]))
    flags = "" if command == "data" else " [-m] [--cfg job]"
    lines = [f"Usage: lstm-lm {command} [GROUP=OPTION ...] [KEY=VALUE ...]{flags}", "", _DESCRIPTIONS[command]]
    lines += ["", "Config groups and their options:"]
    lines += [f"  {group:<{width}}  {', '.join(group_options(group))}" for group in _GROUPS[command]]
    lines += ["", "Examples:", *(f"  {example}" for example in _EXAMPLES[command])]
    if command != "data":
        lines += [
            "",
            "Flags:",
            "  --cfg job          Print the full config with every setting, and exit.",
            "  -m                 Sweep: run one job per combination of comma-separated values.",
            "  --config-dir DIR   Add a folder with your own options, such as DIR/experiment/mine.yaml.",
            "  hydra.run.dir=DIR  Set the run folder.",
        ]
    if command in ("train", "eval"):
        lines += ["  --verbose          Print the process settings first: OpenMP, allocator, threads."]
    lines += ["", "Settings, with the default where no option of a group sets another one:"]
    return "\n".join([*lines, *_settings(command)])


def _settings(command: str) -> list[str]:
    """Each setting of a command with its default, its values and its help, below the description of its group."""
    leaves = [leaf for leaf in all_settings(SCHEMAS.get(command, SCHEMAS["train"])) if "NAME" not in leaf.path]
    if command == "data":
        leaves = [leaf for leaf in leaves if leaf.path.partition(".")[0] in _GROUPS["data"]]
    lines = []
    for leaf in sorted(leaves, key=lambda leaf: leaf.is_group or "." in leaf.path):
        if leaf.is_group:
            lines += ["", f"  {leaf.path}: {leaf.help}"]
        elif leaf.help:
            default = " (required)" if leaf.default == REQUIRED else show(leaf.default)
            text = f"{leaf.help} Values: {leaf.values}."
            lines += [f"  {leaf.path}={default}", textwrap.indent(textwrap.fill(text, 94), " " * 6)]
    return lines


def config_groups() -> tuple[str, ...]:
    """The config groups of ``lstm-lm train``."""
    return _GROUPS["train"]


def group_options(group: str) -> list[str]:
    """The options of a config group."""
    folder = files("lstm_lm.configs") / group
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
