"""``lstm-lm``: the table of commands, and what becomes of an error.

Only the command that runs is imported, so that ``--help`` is there at once and ``serve`` needs no training packages.
"""

import errno
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lstm_lm.cli.environment import configure_process, effective_settings
from lstm_lm.errors import NO_SPACE, UNWRITABLE, LstmLmError, TrainingInterruptedError


@dataclass(frozen=True)
class Command:
    """A command of ``lstm-lm``.

    Attributes:
        target: ``module:function``, imported when the command runs.
        help: One line.
        overrides: The function takes the arguments as they are, for Hydra; otherwise it is a Typer command.
        prepare: Run under the environment that makes torch fast.
    """

    target: str
    help: str
    overrides: bool = False
    prepare: bool = False


COMMANDS = {
    "train": Command("lstm_lm.cli.train:main", "Train a model, or sweep over many (-m).", True, True),
    "eval": Command("lstm_lm.cli.eval:main", "Score a checkpoint or a bundle: perplexity and top-k.", True, True),
    "export": Command("lstm_lm.cli.export:main", "Turn a checkpoint into a bundle that can be served.", True),
    "data": Command("lstm_lm.cli.data:main", "Show a corpus: vocabulary, tokens, a sample, the batches.", True),
    "predict": Command("lstm_lm.cli.predict:predict", "Suggest the next word of a text."),
    "generate": Command("lstm_lm.cli.generate:generate", "Go on with a text."),
    "serve": Command("lstm_lm.cli.serve:serve", "Serve a bundle over HTTP."),
}

_PACKAGES = {
    "train": (
        "training",
        {"torch", "lightning", "hydra", "omegaconf", "torchmetrics", "tensorboard", "datasets", "matplotlib", "onnx"},
    ),
    "serve": (
        "service",
        {
            "fastapi",
            "starlette",
            "uvicorn",
            "pydantic",
            "pydantic_settings",
            "swagger_ui_bundle",
            "onnxruntime",
            "prometheus_client",
        },
    ),
}

# a place that cannot be written, or is no place for a folder: the user's to mend, so no traceback
_FILE_ERRORS = UNWRITABLE | {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; ``None`` takes those of the process.

    Returns:
        0 when it went well, 1 for an error that the user can mend, 2 for wrong usage, 130 after Ctrl-C, 143 after
        SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        from lstm_lm import __version__

        print(f"lstm-lm {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        return _unknown(name)
    command = COMMANDS[name]
    if command.prepare and argv is None and not {"-h", "--help"} & set(rest):
        configure_process()
    return _run(name, command, rest)


def _run(name: str, command: Command, arguments: list[str]) -> int:
    try:
        if command.prepare and "--verbose" in arguments and not {"-h", "--help"} & set(arguments):
            arguments = [argument for argument in arguments if argument != "--verbose"]
            _show_settings()
        module, _, function = command.target.partition(":")
        target: Callable[..., Any] = getattr(import_module(module), function)
        if command.overrides:
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
        for extra, (label, packages) in _PACKAGES.items():
            if missing in packages:
                return _fail(
                    f"{name} needs the {label} packages ({missing} is missing): pip install 'lstm-lm[{extra}]'"
                )
        raise
    except OSError as error:
        if error.errno not in _FILE_ERRORS:
            raise
        remedy = "free some space or choose another folder" if error.errno in NO_SPACE else "choose another folder"
        return _fail(f"{error.filename or 'writing'}: {error.strerror}; {remedy}")
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _show_settings() -> None:
    from lstm_lm.cli.console import first_process, print_key_values

    if first_process():
        print_key_values("Process", effective_settings())


def _interrupted(error: TrainingInterruptedError) -> int:
    from lstm_lm.cli.console import first_process
    from lstm_lm.config.overrides import shell_override

    if first_process():
        # a path with = or spaces has to be quoted for Hydra and for the shell
        remedy = shell_override("resume", str(error.checkpoint)) if error.checkpoint.is_file() else ""
        ending = f"; go on with the same overrides and {remedy}" if remedy else " before anything was saved"
        print(f"\nstopped by a signal{ending}", file=sys.stderr)
    return 128 + error.signal_number


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
    print(f"error: no such command: {name}; {remedy}", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "Usage: lstm-lm COMMAND [ARGUMENTS]",
            "",
            "Word-level LSTM language models: train, measure, export and serve.",
            "",
            "Commands:",
            *(f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()),
            "",
            "Options:",
            "  --version  Show the version.",
            "  --help     Show this; lstm-lm COMMAND --help shows a command's own arguments.",
        ]
    )
