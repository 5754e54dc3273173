"""``lstm-lm generate``: a text, continued."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from lstm_lm.cli.typed_text import JsonOption, ModelOption, read_text, tell_unknown
from lstm_lm.export.loading import load_engine
from lstm_lm.inference.detokenize import text_pieces
from lstm_lm.inference.sampling import with_seed
from lstm_lm.inference.word_lists import parse_lists


def generate(
    model: ModelOption,
    text: Annotated[str, typer.Option(help="The text to go on from; - reads the standard input.")] = "",
    max_words: Annotated[int, typer.Option("--generate", help="Most words to generate.")] = 60,
    preset: Annotated[
        str | None, typer.Option(help="Where options that are not given come from.", show_default="the model's own")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="greedy: the most probable word each time; sample: a drawn one.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Below 1 is safer, above 1 is livelier.")] = None,
    top_k: Annotated[
        int | None, typer.Option("--topk", help="Draw from the so many most probable words; 0 is off.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the most probable words that make up this share; 1 is off.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes a draw repeatable.")] = None,
    ban_unk: Annotated[bool | None, typer.Option("--ban-unk/--no-ban-unk", help="Never give <unk>.")] = None,
    ban_tokens: Annotated[
        list[str] | None,
        typer.Option(
            help="Words that are never given, with commas between; may be repeated. An empty place is the comma "
            "itself: --ban-tokens , bans it."
        ),
    ] = None,
    repeat_penalty: Annotated[float | None, typer.Option(help="Above 1 avoids recent words; 1 is off.")] = None,
    repeat_window: Annotated[int | None, typer.Option(help="How many words back the penalty looks.")] = None,
    stop_eos: Annotated[
        bool | None, typer.Option("--stop-eos/--no-stop-eos", help="Stop at the end of a line.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a text, word by word.

    Options override the preset. --temperature, --topk and --top-p act on the strategy sample.
    """
    prompt = read_text(text)
    engine = load_engine(model)
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
        generation = engine.generate(prompt, sampling, max_words)
        print(json.dumps(asdict(generation) | {"sampling": asdict(sampling)}, ensure_ascii=False))
        return
    words = engine.stream(prompt, sampling, max_words)
    print(prompt, end="", flush=True)
    for piece in text_pieces(prompt, words):
        print(piece, end="", flush=True)
    print()
    tell_unknown(engine.unknown_words(prompt))
    if seed is None and sampling.seed is not None:
        print(f"--seed {sampling.seed} gives this text again", file=sys.stderr)
