"""``lstm-lm predict``: the next word."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lstm_lm.cli.typed_text import JsonOption, ModelOption, read_text, tell_unknown
from lstm_lm.export.loading import load_engine
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.word_lists import parse_lists


def predict(
    model: ModelOption,
    text: Annotated[str, typer.Option(help="What was typed so far; - reads the standard input.")],
    k: Annotated[int, typer.Option(help="How many suggestions.")] = 10,
    prefix: Annotated[str, typer.Option(help="Beginning of the next word, as far as it is typed.")] = "",
    words_only: Annotated[bool, typer.Option("--words-only", help="Leave out punctuation and symbols.")] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Suggest nothing but these words, with commas between; may be repeated."),
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="Never suggest these words, with commas between; may be repeated.")
    ] = None,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache", help="Let the words of the text count again, and offer those too that the model never saw."
        ),
    ] = False,
    cache_weight: Annotated[
        float, typer.Option(help="Share of the cache, from 0 to 1 (lambda in Grave et al. 2017).")
    ] = CacheConfig.weight,
    cache_theta: Annotated[
        float, typer.Option(help="How much more a word counts whose context is like the present one.")
    ] = CacheConfig.theta,
    cache_window: Annotated[int, typer.Option(help="How many words back it looks; 0 is all.")] = CacheConfig.window,
    as_json: JsonOption = False,
) -> None:
    """Suggest the next word of a text.

    A probability is that of the word among all that are left in; <unk> and the end of a line are never suggested.
    Lists do not look at the case of words. The --cache-… options do nothing without --cache.
    """
    typed = read_text(text)
    prediction = load_engine(model).predict(
        typed,
        k,
        prefix,
        words_only=words_only,
        allow=None if allow is None else parse_lists(allow),
        deny=parse_lists(deny or []),
        cache=CacheConfig(cache_weight, cache_theta, cache_window) if cache else None,
    )
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
