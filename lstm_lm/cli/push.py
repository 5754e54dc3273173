"""``lstm-lm push``."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    bundle: Annotated[Path, typer.Argument(help="The folder that lstm-lm export wrote.")],
    repository: Annotated[str, typer.Argument(help="USER/NAME on the Hugging Face hub; created if there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    revision: Annotated[str | None, typer.Option(help="An existing branch.", show_default="the main one")] = None,
) -> None:
    """Publish a bundle on the Hugging Face hub; --model hf://USER/NAME reads it.

    Sign in first with `hf auth login`, or set HF_TOKEN.
    """
    from lstm_lm import hub

    address = hub.push(bundle, repository, private=private, revision=revision)
    typer.echo(f"published {address}")
    suffix = "" if revision is None else f"@{revision}"
    typer.echo(f'lstm-lm predict --model hf://{repository}{suffix} --text "I want to"')
