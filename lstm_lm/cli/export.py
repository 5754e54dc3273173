"""``lstm-lm export``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_lm.cli.command_help import command_help, wants_help

if TYPE_CHECKING:
    from lstm_lm.export.bundle_export import ExportReport
    from lstm_lm.export.config import ExportConfig

log = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    """Export a checkpoint to a bundle."""
    if wants_help(argv):
        print(command_help("export"))
        return
    from lstm_lm.cli.hydra_run import run

    run("export", argv, job)


def job(config: ExportConfig, run_dir: Path) -> None:  # noqa: ARG001  the bundle is written to config.out
    """Write one bundle, and print its size and its parity with the checkpoint.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        BundleError: If the bundle cannot be written, or its results differ from the checkpoint's.
    """
    from lstm_lm.export.bundle_export import export_bundle

    report = export_bundle(Path(config.checkpoint), Path(config.out), config.export, config.sampling, config.cache)
    log.info("%s -> %s, %s", config.checkpoint, config.out, report.parity)
    _print_report(report)


def _print_report(report: ExportReport) -> None:
    from lstm_lm.cli.console import count, print_commands, print_key_values, print_rows, relative_path
    from lstm_lm.export.parity import num_streams

    bundle, metadata = report.bundle, report.bundle.metadata
    folder = relative_path(bundle.path)
    print_key_values(
        "Bundle",
        [
            ("folder", folder),
            *((name, _megabytes(size)) for name, size in bundle.files.items()),
            ("total", _megabytes(report.num_bytes)),
            *([] if report.cell_has_nodes else [("runs on", f"torch only: {metadata.model.cell} has no ONNX nodes")]),
            ("vocabulary", f"{len(bundle.vocabulary):,} words"),
            ("presets", f"{', '.join(metadata.presets)} (default: {metadata.default_preset})"),
        ],
    )
    print_rows(
        f"Parity with the checkpoint on {report.tokens:,} tokens ({report.source}, read as "
        f"{count(num_streams(report.tokens), 'stream')}; eval reads 1)",
        ["network", "size", "logits", "same greedy texts", "perplexity", "change"],
        _parity_rows(report),
    )
    print_commands(
        [
            ("suggest the next word", ["lstm-lm", "predict", "--model", folder, "--text", "I want to"]),
            ("generate text", ["lstm-lm", "generate", "--model", folder, "--text", "The people that"]),
            ("serve it", ["lstm-lm", "serve", "--model", folder]),
        ]
    )


def _parity_rows(report: ExportReport) -> list[list[str]]:
    """One row for the checkpoint and for each network of the bundle.

    The row of the weights has no perplexity: it is the checkpoint's.
    """
    baseline = report.perplexity
    rows = [["checkpoint", "", "", "", "" if baseline is None else f"{baseline:.3f}", ""]]
    for file, parity in report.parity.items():
        row = [file, _megabytes(report.bundle.files[file]), f"± {parity.max_difference:.0e}", "", "", ""]
        if baseline is not None and parity.perplexity is not None:
            row[3:] = [
                f"{parity.same_texts} %",
                f"{parity.perplexity:.3f}",
                f"{parity.perplexity / baseline - 1:+.2%}",
            ]
        rows.append(row)
    return rows


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"
