"""The help of the commands that take overrides: their groups and options, without importing Hydra."""

from importlib.resources import files

_GROUPS = {
    "train": (
        "experiment", "data", "batching", "model", "loss", "optimizer", "schedule", "averaging", "trainer", "callbacks",
        "logger", "sampling",
    ),
    "eval": ("evaluation", "data"),
    "export": ("export", "sampling"),
    "data": ("data", "batching", "experiment"),
}  # fmt: skip

_PURPOSE = {
    "train": "Train a model. The run folder gets checkpoints, TensorBoard files, train.log and metrics.json.",
    "eval": "Score a checkpoint or a bundle on a split and write metrics.json into the run folder.",
    "export": "Write a bundle, the folder that predict, generate and serve take, and check it.",
    "data": "Show what a training would read, and compare its first windows with the text.",
}

_EXAMPLES = {
    "train": (
        "lstm-lm train experiment=quickstart",
        "lstm-lm train model=medium optimizer=adamw optimizer.lr=3e-3 trainer.max_epochs=5",
        "lstm-lm train data=text_files data.dir=FOLDER",
        "lstm-lm train -m model=tiny,small optimizer.lr=1e-3,3e-3",
        "lstm-lm train resume=RUN/checkpoints/last.ckpt",
    ),
    "eval": (
        "lstm-lm eval checkpoint=RUN/checkpoints/best.ckpt",
        "lstm-lm eval checkpoint=exports/mine split=valid data=text_files data.dir=FOLDER",
    ),
    "export": ("lstm-lm export checkpoint=RUN/checkpoints/best.ckpt out=exports/mine",),
    "data": ("lstm-lm data data=python_docs", "lstm-lm data data=text_files data.dir=FOLDER data.min_count=3"),
}


def wants_help(argv: list[str]) -> bool:
    """Whether the arguments ask for help."""
    return "-h" in argv or "--help" in argv


def command_help(command: str) -> str:
    """The help text of a command."""
    width = max(map(len, _GROUPS[command]))
    options = "" if command == "data" else " [-m] [--cfg job]"
    lines = [f"Usage: lstm-lm {command} [GROUP=OPTION ...] [KEY=VALUE ...]{options}", "", _PURPOSE[command]]
    if command == "eval":
        lines += ["", "Needed: checkpoint=PATH. Also: split=train|valid|test (default test)."]
    if command == "export":
        lines += ["", "Needed: checkpoint=PATH out=FOLDER."]
    lines += ["", "Groups and their options:"]
    lines += [f"  {group:<{width}}  {', '.join(group_options(group))}" for group in _GROUPS[command]]
    lines += ["", "Examples:", *(f"  {example}" for example in _EXAMPLES[command])]
    if command != "data":
        lines += ["", "  --cfg job         Show the whole config, with every key that can be set, and stop."]
        lines += ["  -m                Run a job for each combination of values that commas separate."]
        lines += ["  --config-dir DIR  Look for options in a folder of your own too, as in DIR/experiment/mine.yaml."]
        lines += ["  hydra.run.dir=DIR Choose the run folder."]
    if command in ("train", "eval"):
        lines += ["  --verbose         Show the process's own settings first: OpenMP, allocator, threads, precision."]
    return "\n".join(lines)


def group_options(group: str) -> list[str]:
    """The options of a config group."""
    folder = files("lstm_lm.configs") / group
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))
