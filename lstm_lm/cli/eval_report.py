"""What ``lstm-lm eval`` prints."""

from pathlib import Path

from lstm_lm.cli.console import number, percent, print_key_values, relative_path
from lstm_lm.config.schema import EvalConfig
from lstm_lm.evaluation.keyboard import KeyboardScore
from lstm_lm.evaluation.score import Score

_SOURCES = {"given": "given", "tuned": "tuned on valid", "default": "a default, not tuned"}


def print_score(
    config: EvalConfig, score: Score | KeyboardScore, settings: dict[str, float], sources: dict[str, str], run_dir: Path
) -> None:
    """Print a table of the figures, and the settings they were reached with."""
    pairs = _perplexity_pairs(score) if isinstance(score, Score) else _keyboard_pairs(score)
    pairs += [(name, f"{value:g} ({_SOURCES[sources[name]]})") for name, value in settings.items()]
    title = f"{config.split}, {config.evaluation.name} evaluation"
    print_key_values(title, [*pairs, ("figures", relative_path(run_dir / "metrics.json"))])


def _perplexity_pairs(score: Score) -> list[tuple[str, str]]:
    words = score.words
    pairs = [("perplexity", number(score.perplexity))]
    if (interval := score.interval) is not None:
        drawn = f"bootstrap over {interval.articles:,} {interval.unit}s"
        ends = f"{number(interval.low)} to {number(interval.high)}"
        pairs.append((f"{interval.level:.0%} interval", f"{ends} ({drawn})"))
    return [
        *pairs,
        ("loss", f"{number(score.loss, 4)} nats a token"),
        ("top-1, top-3, top-5", ", ".join(map(percent, (score.top1, score.top3, score.top5)))),
        ("the same over words", ", ".join(map(percent, (words.top1, words.top3, words.top5)))),
        ("tokens, words", f"{score.tokens:,}, {words.tokens:,}"),
        ("<unk>", percent(score.unk_rate)),
    ]


def _keyboard_pairs(score: KeyboardScore) -> list[tuple[str, str]]:
    return [
        ("keystrokes saved", percent(score.keystroke_savings_rate)),
        ("keystrokes without, with", f"{score.keystrokes:,}, {score.keystrokes_with_suggestions:,}"),
        ("words taken from the bar", percent(score.taken)),
        ("top-1, top-3 before a letter", ", ".join(map(percent, (score.words.top1, score.words.top3)))),
        ("tokens, real words", f"{score.tokens:,}, {score.words.tokens:,}"),
    ]
