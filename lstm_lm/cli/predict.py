"""``lstm-lm predict``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lstm_lm.cli.terminal import print_json, printable
from lstm_lm.cli.text_options import (
    BlocklistOption,
    JsonOption,
    ModelOption,
    load_engine,
    read_text,
    warn_unknown_words,
)
from lstm_lm.inference.personal_words import PersonalWords, read_personal_words
from lstm_lm.inference.word_lists import parse_lists


def predict(
    text: Annotated[str, typer.Option(help="The text so far; - reads standard input.")],
    model: ModelOption = None,
    k: Annotated[int, typer.Option(help="Number of suggestions.")] = 10,
    prefix: Annotated[str, typer.Option(help="Typed beginning of the next word.")] = "",
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Exclude punctuation, symbols and, after a space, endings such as 's.")
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Suggest only these words, separated by commas; may be repeated."),
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="Never suggest these words, separated by commas; may be repeated.")
    ] = None,
    personal: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with your own words, earlier texts and blocked words: user_words, recent and deny, as the "
            "service's page exports them."
        ),
    ] = None,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache", help="Use the neural cache: prefer words of the text, including out-of-vocabulary ones."
        ),
    ] = False,
    cache_weight: Annotated[
        float | None, typer.Option(help="Weight of the cache, from 0 to 1 (lambda in Grave et al. 2017).")
    ] = None,
    cache_theta: Annotated[
        float | None, typer.Option(help="How strongly the cache prefers words in similar contexts (theta).")
    ] = None,
    cache_window: Annotated[int | None, typer.Option(help="Number of recent words in the cache; 0 is all.")] = None,
    split: Annotated[
        bool, typer.Option("--split", help="Take the half-typed word at the end of the text as the prefix.")
    ] = False,
    typed_word: Annotated[
        str, typer.Option(help="Where the word that equals the prefix goes: last, ranked or never.")
    ] = "last",
    blocklist: BlocklistOption = True,
    as_json: JsonOption = False,
) -> None:
    """Suggest the next word of a text.

    Probabilities are normalized over the words that pass the filters; <unk> and line ends are never suggested.
    --allow and --deny ignore case. The --cache-… options replace the model's own settings and have no effect without
    --cache; earlier texts of --personal use the neural cache with the model's settings.
    """
    own = PersonalWords() if personal is None else read_personal_words(personal)
    engine = load_engine(model, blocklist)
    prediction = engine.predict(
        read_text(text),
        k,
        prefix,
        words_only=words_only,
        allow=None if allow is None else parse_lists(allow),
        deny=[*parse_lists(deny or []), *own.deny],
        cache=engine.resolve_cache(weight=cache_weight, theta=cache_theta, window=cache_window) if cache else None,
        split=split,
        typed_word=typed_word,
        user_words=own.user_words,
        recent=own.recent,
    )
    if as_json:
        print_json(asdict(prediction))
        return
    table = Table()
    table.add_column("word", overflow="fold")
    table.add_column("probability", justify="right")
    for suggestion in prediction.suggestions:
        # Text: a word such as [i] must not be parsed as markup
        table.add_row(Text(printable(suggestion.word)), f"{100 * suggestion.probability:.2f} %")
    Console().print(table)
    warn_unknown_words(prediction.unknown_words)
