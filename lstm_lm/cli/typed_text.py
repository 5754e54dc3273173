"""Text and options that a person gives on the command line, for predict and generate."""

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from lstm_lm.errors import ConfigError

ModelOption: TypeAlias = Annotated[Path, typer.Option(help="Bundle (a folder) or checkpoint (a file).")]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def read_text(text: str) -> str:
    """The text of ``--text``; ``-`` is what stands on the standard input, without its last line break.

    Raises:
        ConfigError: If it is not UTF-8.
    """
    try:
        if text == "-":
            return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        # bytes of an argument that are not text arrive as lone surrogates
        text.encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ConfigError([f"text: is not UTF-8 ({error.reason}); convert it"]) from None
    return text


def tell_unknown(words: tuple[str, ...]) -> None:
    """Say on the standard error which words the model never saw."""
    if words:
        print(f"not in the vocabulary, read as <unk>: {', '.join(words)}", file=sys.stderr)
