"""Command table and error handling of ``lstm-lm``.

Only the command that runs is imported: ``--help`` is instant, and ``serve`` needs no training packages.
"""

import errno
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lstm_lm.cli.environment import configure_process, effective_settings, misspelt_variables
from lstm_lm.cli.terminal import escape_unencodable_output, printable
from lstm_lm.errors import NO_SPACE, UNWRITABLE, LstmLmError, TrainingInterruptedError, did_you_mean


@dataclass(frozen=True)
class Command:
    """A command of ``lstm-lm``."""

    target: str
    """``module:function``, imported when the command runs."""
    help: str
    """One line for ``lstm-lm --help``."""
    uses_hydra: bool = False
    """Pass the unparsed arguments to the function, which runs Hydra; otherwise it is a Typer command."""
    configure_process: bool = False
    """Tune OpenMP and the allocator for torch before the command runs."""


COMMANDS = {
    "train": Command(
        "lstm_lm.cli.train:main", "Train a model, or sweep over many with -m.", uses_hydra=True, configure_process=True
    ),
    "eval": Command(
        "lstm_lm.cli.eval:main",
        "Score a checkpoint or a bundle: perplexity and top-k.",
        uses_hydra=True,
        configure_process=True,
    ),
    "export": Command("lstm_lm.cli.export:main", "Export a checkpoint to a bundle.", uses_hydra=True),
    "data": Command("lstm_lm.cli.data:main", "Show a corpus: vocabulary, tokens, a sample, windows.", uses_hydra=True),
    "tune": Command(
        "lstm_lm.cli.tune:tune", "Search for the settings with the lowest perplexity.", configure_process=True
    ),
    "tune-report": Command("lstm_lm.cli.tune:tune_report", "Show a study of lstm-lm tune."),
    "runs": Command("lstm_lm.cli.runs:runs", "List the training runs below a folder."),
    "compare": Command("lstm_lm.cli.compare:compare", "Compare runs: settings, scores, and whether they differ."),
    "report": Command("lstm_lm.cli.runs:report", "Write report.html of a run again."),
    "predict": Command("lstm_lm.cli.predict:predict", "Suggest the next word of a text."),
    "generate": Command("lstm_lm.cli.generate:generate", "Continue a text."),
    "push": Command("lstm_lm.cli.push:push", "Publish a bundle on the Hugging Face hub."),
    "serve": Command("lstm_lm.cli.serve:serve", "Serve a bundle over HTTP."),
}

_EXTRAS = {
    "train": (
        "training",
        {
            "torch",
            "lightning",
            "hydra",
            "omegaconf",
            "torchmetrics",
            "tensorboard",
            "datasets",
            "matplotlib",
            "onnx",
            "optuna",
            "sqlalchemy",
        },
    ),
    "serve": (
        "service",
        {
            "fastapi",
            "starlette",
            "uvicorn",
            "pydantic",
            "pydantic_settings",
            "fastapi_offline",
            "onnxruntime",
            "prometheus_client",
        },
    ),
}

# the user can fix these by choosing another folder, so no traceback
_FILE_ERRORS = UNWRITABLE | {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; ``None`` uses ``sys.argv``.

    Returns:
        The exit status: 0 for success, 1 for an error that the user can fix, 2 for wrong usage, 128 + N after signal N
        (130 after Ctrl-C, 143 after SIGTERM).
    """
    escape_unencodable_output()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from lstm_lm.version import __version__

        print(f"lstm-lm {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"error: unknown command {name}; {did_you_mean(name, COMMANDS)}", file=sys.stderr)
        return 2
    command = COMMANDS[name]
    if command.configure_process and argv is None and not {"-h", "--help"} & set(rest):
        configure_process()
    for line in misspelt_variables() if name != "serve" else ():
        print(f"warning: {line}", file=sys.stderr)
    return _run(name, command, rest)


def _run(name: str, command: Command, arguments: list[str]) -> int:
    try:
        if command.configure_process and "--verbose" in arguments and not {"-h", "--help"} & set(arguments):
            arguments = [argument for argument in arguments if argument != "--verbose"]
            _print_process_settings()
        module, _, function = command.target.partition(":")
        target: Callable[..., Any] = getattr(import_module(module), function)
        if command.uses_hydra:
            target(arguments)
        else:
            import typer

            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command(name)(target)
            app(arguments, prog_name=f"lstm-lm {name}")
    except TrainingInterruptedError as error:
        return _interrupted(error)
    except LstmLmError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        for extra, (label, packages) in _EXTRAS.items():
            if missing in packages:
                return _fail(
                    f"{name} needs the {label} packages ({missing} is missing): pip install 'lstm-lm[{extra}]'"
                )
        raise
    except OSError as error:
        if error.errno not in _FILE_ERRORS:
            raise
        remedy = "free disk space or choose another folder" if error.errno in NO_SPACE else "choose another folder"
        return _fail(f"{error.filename or 'writing'}: {error.strerror}; {remedy}")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _print_process_settings() -> None:
    from lstm_lm.cli.console import print_key_values
    from lstm_lm.training.ranks import is_rank_zero

    if is_rank_zero():
        print_key_values("Process", effective_settings())


def _interrupted(error: TrainingInterruptedError) -> int:
    from lstm_lm.config.overrides import shell_override
    from lstm_lm.training.ranks import is_rank_zero

    if is_rank_zero():
        if error.checkpoint.is_file():
            resume = shell_override("resume", str(error.checkpoint.parent.parent))
            print(f"\nstopped by a signal; continue with lstm-lm train {resume}", file=sys.stderr)
        else:
            print("\nstopped by a signal before a checkpoint was saved", file=sys.stderr)
    return 128 + error.signal_number


def _fail(message: str) -> int:
    print(f"error: {printable(message)}", file=sys.stderr)
    return 1


def _help() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "Usage: lstm-lm COMMAND [ARGUMENTS]",
            "",
            "Train, evaluate, export and serve word-level LSTM language models.",
            "",
            "Commands:",
            *(f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()),
            "",
            "Options:",
            "  --version  Print the version.",
            "  --help     Print this help.",
            "",
            "Run lstm-lm COMMAND --help for the arguments of a command.",
        ]
    )
