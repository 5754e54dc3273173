"""``lstm-lm data``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lstm_lm.cli.command_help import command_help, wants_help

if TYPE_CHECKING:
    from lstm_lm.data.config import DataConfig
    from lstm_lm.data.encoding import EncodedCorpus
    from lstm_lm.data.report import DataReport


def main(argv: list[str]) -> None:
    """Show the corpus that a training run with these overrides would use.

    Raises:
        ConfigError: If an override is invalid.
        DataError: If the corpus cannot be read, or its windows are not the words of the text.
    """
    if wants_help(argv):
        print(command_help("data"))
        return
    from lstm_lm.cli.hydra_run import parse_arguments
    from lstm_lm.config.validation import check
    from lstm_lm.data.report import data_report
    from lstm_lm.errors import ConfigError
    from lstm_lm.training.config import TrainConfig

    arguments, flags = parse_arguments("data", argv)
    if arguments.multirun:
        raise ConfigError(["-m: data shows one corpus; remove -m"])
    unsupported = [flag for flag in flags if flag.startswith("-") and not flag.startswith(("--config-dir", "-cd"))]
    if unsupported:
        raise ConfigError([f"{unsupported[0]}: not supported by data; use lstm-lm train {unsupported[0]}"])
    config = check("train", arguments.overrides, config_dir=arguments.config_dir).config
    assert isinstance(config, TrainConfig)
    _print_report(data_report(_load(config.data), config.batching, config.seed))


def _load(data_config: DataConfig) -> EncodedCorpus:
    """Load a corpus, with a progress bar if it is encoded first."""
    from lstm_lm.cli.encoding_bar import encoding_bar
    from lstm_lm.data.encoding import load_corpus

    with encoding_bar() as progress:
        return load_corpus(data_config, progress)


def _print_report(report: DataReport) -> None:
    from lstm_lm.cli.console import percent, print_key_values, print_rows

    print_key_values(
        f"Corpus {report.corpus}",
        [
            ("tokenizer", report.tokenizer),
            ("vocabulary", f"{report.vocabulary_size:,} words"),
            ("coverage of train", ", ".join(f"{size:,} words {percent(share)}" for size, share in report.coverage)),
        ],
    )
    print_rows(
        "The first lines as the network sees them; <unk:word> is outside the vocabulary and read as <unk>",
        ("split", "tokens"),
        [(split.name, line) for split in report.splits for line in split.sample],
    )
    batches = {batch.name: batch for batch in report.batches}
    print_rows(
        "Splits and their windows (B, T)",
        ("split", "tokens", "lines", "<unk>", "window", "stream", "windows"),
        [
            (
                split.name,
                f"{split.tokens:,}",
                f"{split.lines:,}",
                percent(split.unk_rate),
                str(batches[split.name].shape),
                f"{batches[split.name].stream_length:,}",
                f"{batches[split.name].windows:,}",
            )
            for split in report.splits
        ],
    )
    compared = ", ".join(f"{batch.compared:,} of {batch.name}" for batch in report.batches)
    print(f"windows compared with the text, inputs one word before targets: the first words agree ({compared})")
