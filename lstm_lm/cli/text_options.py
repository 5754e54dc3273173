"""Options and input text that ``predict`` and ``generate`` share."""

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from lstm_lm.cli.terminal import printable
from lstm_lm.errors import ConfigError
from lstm_lm.inference.blocklist import shipped_blocklist
from lstm_lm.inference.engine import Engine
from lstm_lm.loading import load_model
from lstm_lm.pretrained import PRETRAINED

SHIPPED_MODEL = f"{PRETRAINED.name} (everyday English), which ships with lstm-lm; --model gives another"
ModelOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Bundle, run folder, checkpoint, or hf://USER/NAME on the Hugging Face hub.",
        show_default="the model that ships with lstm-lm: everyday English",
    ),
]
BlocklistOption: TypeAlias = Annotated[
    bool, typer.Option("--blocklist/--no-blocklist", help="Leave out the slurs and obscenities of the shipped list.")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def load_engine(model: Path | None, blocklist: bool) -> Engine:
    """The engine of ``--model``; without it, that of the model that ships with the package, which is said."""
    if model is None:
        print(f"model: {SHIPPED_MODEL}", file=sys.stderr)
    return load_model(model or PRETRAINED).engine(blocked=shipped_blocklist() if blocklist else ())


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
