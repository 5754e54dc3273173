"""``lstm-lm generate``."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from lstm_lm.cli.terminal import print_json, printable
from lstm_lm.cli.text_options import (
    BlocklistOption,
    JsonOption,
    ModelOption,
    load_engine,
    read_text,
    warn_unknown_words,
)
from lstm_lm.inference.detokenize import text_pieces
from lstm_lm.inference.sampling import with_seed
from lstm_lm.inference.word_lists import parse_lists


def generate(
    model: ModelOption = None,
    text: Annotated[str, typer.Option(help="The prompt; - reads standard input.")] = "",
    max_words: Annotated[int, typer.Option("--generate", help="Maximum number of words to generate.")] = 60,
    preset: Annotated[
        str | None,
        typer.Option(help="Preset that supplies the options that are not given.", show_default="the model's default"),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="greedy: always the most probable word; sample: a random word.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Below 1: safer words; above 1: more surprising ones.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--topk", help="Sample from the K most probable words; 0 is off.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the most probable words that sum to this probability; 1 is off.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed that makes the result reproducible.")] = None,
    ban_unk: Annotated[bool | None, typer.Option("--ban-unk/--no-ban-unk", help="Never generate <unk>.")] = None,
    ban_tokens: Annotated[
        list[str] | None,
        typer.Option(
            help="Words that are never generated, separated by commas; may be repeated. An empty item is the comma "
            "itself: --ban-tokens , bans it."
        ),
    ] = None,
    repeat_penalty: Annotated[float | None, typer.Option(help="Above 1: avoid recent words; 1 is off.")] = None,
    repeat_window: Annotated[
        int | None, typer.Option(help="Number of recent words that the penalty applies to.")
    ] = None,
    stop_eos: Annotated[
        bool | None, typer.Option("--stop-eos/--no-stop-eos", help="Stop at the first end of a line.")
    ] = None,
    blocklist: BlocklistOption = True,
    as_json: JsonOption = False,
) -> None:
    """Continue a text word by word.

    Options override the preset. --temperature, --topk and --top-p apply to --strategy sample only.
    """
    prompt = read_text(text)
    engine = load_engine(model, blocklist)
    sampling = with_seed(
        engine.resolve_sampling(
            preset,
            strategy=strategy,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            ban_unk=ban_unk,
            ban_tokens=None if ban_tokens is None else parse_lists(ban_tokens),
            repeat_penalty=repeat_penalty,
            repeat_window=repeat_window,
            stop_eos=stop_eos,
        )
    )
    if as_json:
        result = engine.generate(prompt, sampling, max_words)
        print_json(asdict(result) | {"sampling": asdict(sampling)})
        return
    words = engine.stream(prompt, sampling, max_words)
    print(printable(prompt), end="", flush=True)
    for piece in text_pieces(prompt, words):
        print(printable(piece), end="", flush=True)
    print()
    warn_unknown_words(engine.unknown_words(prompt))
    if seed is None and sampling.seed is not None:
        print(f"reproduce this text with --seed {sampling.seed}", file=sys.stderr)
