"""The table that ``lstm-lm eval`` prints."""

from pathlib import Path

from lstm_lm.cli.console import count, number, percent, print_key_values, relative_path
from lstm_lm.evaluation.config import EvalConfig
from lstm_lm.evaluation.keyboard import KeyboardScore
from lstm_lm.evaluation.run import EvaluationResult, MixtureReport
from lstm_lm.evaluation.score import Score

_SOURCES = {"given": "given", "tuned": "tuned on valid", "default": "default, not tuned"}


def print_score(config: EvalConfig, result: EvaluationResult, run_dir: Path) -> None:
    """Print the score, and the settings with their sources."""
    score = result.score
    rows = _perplexity_rows(score, config.evaluation.batch_size) if isinstance(score, Score) else _keyboard_rows(score)
    rows += [(name, f"{value:g} ({_SOURCES[result.sources[name]]})") for name, value in result.settings.items()]
    if result.mixture is not None:
        rows += _mixture_rows(result.mixture)
    title = f"{config.split}, {config.evaluation.label} evaluation"
    print_key_values(title, [*rows, ("metrics", relative_path(run_dir / "metrics.json"))])


def _perplexity_rows(score: Score, num_streams: int) -> list[tuple[str, str]]:
    words = score.words
    rows = [("perplexity", f"{number(score.perplexity)} (read as {count(num_streams, 'stream')})")]
    if (interval := score.interval) is not None:
        method = f"bootstrap over {interval.articles:,} {interval.unit}s"
        rows.append((f"{interval.level:.0%} interval", f"{number(interval.low)} to {number(interval.high)} ({method})"))
    return [
        *rows,
        ("loss", f"{number(score.loss, 4)} nats per token"),
        ("top-1, top-3, top-5", ", ".join(map(percent, (score.top1, score.top3, score.top5)))),
        ("words only", ", ".join(map(percent, (words.top1, words.top3, words.top5)))),
        ("tokens, words", f"{score.tokens:,}, {words.tokens:,}"),
        ("<unk>", percent(score.unk_rate)),
    ]


def _mixture_rows(mixture: MixtureReport) -> list[tuple[str, str]]:
    rows = [
        (f"{name}: mean weight, time", f"{percent(weight)}, {mixture.seconds[name]:.0f} s")
        for name, weight in mixture.weights.items()
    ]
    if (check := mixture.cross_check) is not None:
        text = (
            f"perplexity {number(check.per_token)} with weights per token, {number(check.constant)} with constant ones"
        )
        rows.append((f"halves of {check.tokens:,} tokens of valid, each with the other's weights", text))
    rows.append(("weights", "per token" if mixture.per_token else "constant"))
    return rows


def _keyboard_rows(score: KeyboardScore) -> list[tuple[str, str]]:
    return [
        ("keystrokes saved", percent(score.keystroke_savings_rate)),
        ("keystrokes without, with", f"{score.keystrokes:,}, {score.keystrokes_with_suggestions:,}"),
        ("words accepted from the bar", percent(score.taken)),
        ("top-1, top-3 before a letter", ", ".join(map(percent, (score.words.top1, score.words.top3)))),
        ("tokens, words", f"{score.tokens:,}, {score.words.tokens:,}"),
    ]
