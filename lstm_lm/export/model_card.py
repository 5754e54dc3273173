"""The model card, README.md of a bundle."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.saved_model import ModelMetadata
from lstm_lm.text.vocabulary import Vocabulary


def model_card(name: str, network: LSTMLanguageModel, vocabulary: Vocabulary, metadata: ModelMetadata) -> str:
    """Write the model card as Markdown: sizes, scores, usage, presets and limits.

    Args:
        name: Name of the bundle's folder.
        network: The network.
        vocabulary: Its vocabulary.
        metadata: What the bundle records.
    """
    shell_name, default_preset = shlex.quote(name), metadata.default_preset
    return "\n".join(
        [
            *_hub_header(metadata),
            f"# {name}",
            "",
            "A word-level LSTM language model: it suggests the next word of a text and generates text.",
            "",
            *_table(("", ""), _facts(network, vocabulary, metadata)),
            "",
            "## Scores",
            "",
            *_scores(metadata.metrics),
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
            "from lstm_lm import load_model",
            "",
            f"engine = load_model({json.dumps(name)}).engine()",
            'for suggestion in engine.predict("I want to", k=5).suggestions:',
            "    print(suggestion.word, suggestion.probability)",
            'print(engine.generate("The people that", engine.resolve_sampling(seed=1), max_words=40).text)',
            "```",
            "",
            "## Presets",
            "",
            f"`{default_preset}` is the default.",
            "",
            *_presets(metadata.presets),
            "",
            "## Limits",
            "",
            "The model knows only the words of its vocabulary. It reproduces its training text, including errors. Its",
            "scores are valid for text like its corpus.",
            "",
        ]
    )


def _hub_header(metadata: ModelMetadata) -> list[str]:
    """The YAML header by which the Hugging Face hub files a model; JSON is YAML too."""
    header = {
        "language": metadata.data.language,
        "license": metadata.data.license,
        "library_name": "lstm_lm",
        "pipeline_tag": "text-generation",
        "tags": ["lstm", "next-word-prediction", "word-level"],
    }
    lines = (f"{name}: {json.dumps(value)}" for name, value in header.items() if value is not None)
    return ["---", *lines, "---", ""]


def _facts(network: LSTMLanguageModel, vocabulary: Vocabulary, metadata: ModelMetadata) -> Iterator[tuple[str, str]]:
    config = metadata.model
    yield "parameters", f"{network.num_parameters:,}"
    yield "vocabulary", f"{len(vocabulary):,} words"
    yield "embedding", str(config.embedding_dim)
    yield "layers", " + ".join(map(str, config.hidden_dims))
    yield "cell", ", ".join([config.cell, *(f"{name} {value}" for name, value in config.cell_options.items())])
    yield "output layer", "tied to the embedding" if config.tie_weights else "separate weights"
    yield "corpus", metadata.data.corpus_name
    about = {"source": metadata.data.url, "licence": metadata.data.license, "language": metadata.data.language}
    yield from ((f"{name} of the corpus", value) for name, value in about.items() if value is not None)
    yield "tokenizer", metadata.tokenizer
    yield "neural cache, where it is on", ", ".join(f"{name} {value}" for name, value in asdict(metadata.cache).items())
    if metadata.init_from is not None:
        yield "initial weights", metadata.init_from.describe()
    training = metadata.training
    yield from ((name, f"{training[name]}") for name in ("step", "seed", "precision") if name in training)
    versions = training.get("versions", {})
    yield from ((name, str(versions[name])) for name in ("commit", "lstm-lm", "torch", "processor") if name in versions)


def _scores(metrics: Mapping[str, Any]) -> list[str]:
    rows = [(split, score) for split, score in metrics.items() if isinstance(score, dict) and "perplexity" in score]
    if not rows:
        return ["The model was not evaluated before the export."]
    names = [name for name in ("loss", "perplexity", "top1", "top3", "top5") if any(name in score for _, score in rows)]
    cells = [(split, *(_number(score.get(name)) for name in names)) for split, score in rows]
    return [
        *_table(("split", *names), cells),
        "",
        "Loss is in nats per token, over the exact softmax, `<eos>` included. Training reads valid as several streams;",
        "`lstm-lm eval` reads it as one, and its perplexity is a little lower.",
        *_keyboard_scores(metrics),
    ]


def _keyboard_scores(metrics: Mapping[str, Any]) -> list[str]:
    rows = [
        (split.partition(" ")[0], *(f"{100 * share:.1f} %" for share in (words["top1"], words["top3"], saved)))
        for split, score in metrics.items()
        if isinstance(score, dict)
        and (saved := score.get("keystroke_savings_rate")) is not None
        and (words := score.get("words"))
    ]
    if not rows:
        return []
    return [
        "",
        "As a keyboard with three suggestions: how often the word is the first or among the three before a letter is",
        "typed, and how many keystrokes they save an ideal user.",
        "",
        *_table(("split", "top-1", "top-3", "keystrokes saved"), rows),
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
