"""``lstm-lm predict``: the next word."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lstm_lm.cli.typed_text import JsonOption, ModelOption, read_text, tell_unknown
from lstm_lm.export.opening import open_engine


def predict(
    model: ModelOption,
    text: Annotated[str, typer.Option(help="What was typed so far; - reads the standard input.")],
    k: Annotated[int, typer.Option(help="How many suggestions.")] = 10,
    prefix: Annotated[str, typer.Option(help="Beginning of the next word, as far as it is typed.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Suggest the next word of a text.

    Probabilities are those of the whole vocabulary; <unk> and the end of a line are not suggested.
    """
    typed = read_text(text)
    prediction = open_engine(model).predict(typed, k, prefix)
    if as_json:
        print(json.dumps(asdict(prediction), ensure_ascii=False))
        return
    table = Table()
    table.add_column("word", overflow="fold")
    table.add_column("probability", justify="right")
    for suggestion in prediction.suggestions:
        # a word is not markup, whatever it looks like
        table.add_row(Text(suggestion.word), f"{100 * suggestion.probability:.2f} %")
    Console().print(table)
    tell_unknown(prediction.unknown_words)
