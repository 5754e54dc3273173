"""The model card, README.md of a bundle."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from lstm_lm.export.checkpoint import TrainedModel
from lstm_lm.inference.config import SamplingConfig


def model_card(name: str, trained: TrainedModel, presets: Mapping[str, SamplingConfig], default_preset: str) -> str:
    """Write the model card as Markdown: sizes, scores, usage, presets and limits.

    Args:
        name: Name of the bundle's folder.
        trained: The model.
        presets: Sampling presets by name.
        default_preset: One of their names.
    """
    shell_name = shlex.quote(name)
    return "\n".join(
        [
            f"# {name}",
            "",
            "A word-level LSTM language model: it suggests the next word of a text and generates text.",
            "",
            *_table(("", ""), _facts(trained)),
            "",
            "## Scores",
            "",
            *_scores(trained.metrics),
            "",
            "## Use",
            "",
            "From the parent folder:",
            "",
            "```sh",
            f'lstm-lm predict --model {shell_name} --text "I want to" --k 5',
            f'lstm-lm generate --model {shell_name} --text "The people that" --generate 40 --preset {default_preset}',
            f"lstm-lm serve --model {shell_name}",
            "```",
            "",
            "```python",
            "from pathlib import Path",
            "",
            "from lstm_lm.bundle import build_engine, read_bundle",
            "",
            f"engine = build_engine(read_bundle(Path({json.dumps(name)})))",
            'for suggestion in engine.predict("I want to", k=5).suggestions:',
            "    print(suggestion.word, suggestion.probability)",
            'print(engine.generate("The people that", engine.resolve_sampling(seed=1), max_words=40).text)',
            "```",
            "",
            "## Presets",
            "",
            f"`{default_preset}` is the default.",
            "",
            *_presets(presets),
            "",
            "## Limits",
            "",
            "The model knows only the words of its vocabulary. It reproduces its training text, including errors. Its",
            "scores are valid for text like its corpus.",
            "",
        ]
    )


def _facts(trained: TrainedModel) -> Iterator[tuple[str, str]]:
    config = trained.config
    yield "parameters", f"{sum(parameter.numel() for parameter in trained.model.parameters()):,}"
    yield "vocabulary", f"{len(trained.vocabulary):,} words"
    yield "embedding", str(config.embedding_dim)
    yield "layers", " + ".join(map(str, config.hidden_dims))
    yield "cell", ", ".join([config.cell, *(f"{name} {value}" for name, value in config.cell_options.items())])
    yield "output layer", "tied to the embedding" if config.tie_weights else "separate weights"
    yield "corpus", trained.data.corpus_name
    yield "tokenizer", trained.tokenizer


def _scores(metrics: Mapping[str, Any]) -> list[str]:
    rows = [(split, score) for split, score in metrics.items() if isinstance(score, dict)]
    if not rows:
        return ["The model was not evaluated before the export."]
    names = [name for name in ("loss", "perplexity", "top1", "top3", "top5") if any(name in score for _, score in rows)]
    cells = [(split, *(_number(score.get(name)) for name in names)) for split, score in rows]
    return [
        *_table(("split", *names), cells),
        "",
        "Loss is in nats per token, over the exact softmax, `<eos>` included. Training reads valid as several streams;",
        "`lstm-lm eval` reads it as one, and its perplexity is a little lower.",
    ]


def _presets(presets: Mapping[str, SamplingConfig]) -> list[str]:
    defaults = asdict(SamplingConfig())
    cells = []
    for name, preset in presets.items():
        changed = {field: value for field, value in asdict(preset).items() if value != defaults[field]}
        changed = {"strategy": preset.strategy} | changed
        cells.append((f"`{name}`", ", ".join(f"{field} {value}" for field, value in changed.items())))
    return _table(("name", "settings"), cells)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"


def _table(header: tuple[str, ...], rows: Any) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
