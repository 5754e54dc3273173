"""Options and input text that ``predict`` and ``generate`` share."""

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from lstm_lm.cli.terminal import printable
from lstm_lm.errors import ConfigError
from lstm_lm.inference.blocklist import shipped_blocklist

ModelOption: TypeAlias = Annotated[Path, typer.Option(help="Bundle, run folder or checkpoint.")]
BlocklistOption: TypeAlias = Annotated[
    bool, typer.Option("--blocklist/--no-blocklist", help="Leave out the slurs and obscenities of the shipped list.")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def blocked_words(blocklist: bool) -> tuple[str, ...]:
    """The words that ``--blocklist`` leaves out."""
    return shipped_blocklist() if blocklist else ()


def read_text(text: str) -> str:
    """The text of ``--text``; ``-`` reads standard input, without its last line break.

    Raises:
        ConfigError: If the text is not UTF-8.
    """
    try:
        if text == "-":
            return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        # invalid bytes in an argument arrive as lone surrogates
        text.encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ConfigError([f"text: is not UTF-8 ({error.reason}); convert it"]) from None
    return text


def warn_unknown_words(words: tuple[str, ...]) -> None:
    """Print the words that are not in the vocabulary to standard error."""
    if words:
        print(f"not in the vocabulary, read as <unk>: {printable(', '.join(words))}", file=sys.stderr)
