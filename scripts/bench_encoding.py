"""Measure the time and memory of encoding a corpus.

The corpus is ``--copies`` copies of the train.txt in ``--dir``: 50 copies of WikiText-2 are 100 million words, the size
of WikiText-103. In each copy, every 50th line has words of its own, so that the vocabulary grows with the text.
Encoding runs in a separate process, which starts one process per core (``LOKY_MAX_CPU_COUNT`` limits them)::

    python scripts/bench_encoding.py --dir FOLDER
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import load_corpus

LIMIT_MIB = 1024
MAX_SIZE = 50_000  # words of the vocabulary


def encode(folder: Path, cache: Path, tokenizer: str) -> dict[str, float]:
    """Encode ``folder``; returns seconds, CPU seconds, tokens, vocabulary size and peak memory in MiB."""
    begin = time.perf_counter()
    config = DataConfig(
        source="text_files", dir=str(folder), tokenizer=tokenizer, cache_dir=str(cache), max_size=MAX_SIZE
    )
    corpus = load_corpus(config)
    seconds = time.perf_counter() - begin
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB elsewhere
    return {
        "seconds": seconds,
        "cpu_seconds": sum(used.ru_utime + used.ru_stime for used in usage),
        "tokens": sum(len(ids) for ids in corpus.splits.values()),
        "vocabulary": len(corpus.vocabulary),
        "peak_mib": usage[0].ru_maxrss / unit,
        "worker_mib": usage[1].ru_maxrss / unit,
    }


def write_corpus(source: Path, target: Path, copies: int) -> None:
    """Write a corpus folder with ``copies`` copies of the train text of ``source``."""
    lines = (source / "train.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    with (target / "train.txt").open("w", encoding="utf-8") as out:
        for copy in range(copies):
            for number in range(49, len(lines), 50):
                lines[number] = " ".join(f"{word.partition('_')[0]}_{copy}" for word in lines[number].split()) + "\n"
            out.writelines(lines)
    for name in ("valid.txt", "test.txt"):
        shutil.copy(source / name, target / name)


def main() -> int:
    """Print the measurements; returns exit status 1 if peak memory exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--copies", type=int, default=50, help="copies of train.txt (default: %(default)s)")
    parser.add_argument("--tokenizer", choices=("whitespace", "moses"), default="whitespace")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(encode(args.dir, args.child, args.tokenizer)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        corpus, cache = Path(temporary, "corpus"), Path(temporary, "cache")
        corpus.mkdir()
        write_corpus(args.dir, corpus, args.copies)
        size = (corpus / "train.txt").stat().st_size
        table = Table(title=f"train.txt x {args.copies}: {size / 1e6:,.0f} MB, tokenizer {args.tokenizer}")
        columns = ("run", "seconds", "CPU seconds", "tokens", "tokens/s", "vocabulary", "peak MiB", "worker's peak MiB")
        for column in columns:
            table.add_column(column, justify="right")
        peak = 0.0
        for run in ("encode", "from cache"):
            command = [sys.executable, __file__, "--dir", str(corpus), "--tokenizer", args.tokenizer]
            output = subprocess.run([*command, "--child", str(cache)], check=True, stdout=subprocess.PIPE).stdout
            result = json.loads(output)
            peak = max(peak, result["peak_mib"])
            table.add_row(
                run,
                f"{result['seconds']:.1f}",
                f"{result['cpu_seconds']:.1f}",
                f"{result['tokens']:,}",
                f"{result['tokens'] / result['seconds']:,.0f}",
                f"{result['vocabulary']:,}",
                f"{result['peak_mib']:.0f}",
                f"{result['worker_mib']:.0f}",
            )
        Console(width=120).print(table)
    return 0 if peak < LIMIT_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
