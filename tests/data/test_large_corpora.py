"""Corpora that are encoded by several processes, and train texts with more words than are kept in memory."""

import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from helpers.waiting import DEADLINE, wait_until

from lstm_lm.data import block_encoding, text_source, word_counts
from lstm_lm.data.cache import cache_root
from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import load_corpus
from lstm_lm.errors import DataError


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """A corpus of many small words, with blank lines, ``<unk>`` and ``<eos>`` in the text and one long line."""
    rng = random.Random(0)
    for split, lines in (("train", 400), ("valid", 40), ("test", 40)):
        text = [" ".join(f"w{int(rng.paretovariate(0.5))}" for _ in range(rng.randint(0, 12))) for _ in range(lines)]
        text[7:9] = ["a <unk> <unk> é", "b <eos>"]
        text.append(" ".join(f"x{index % 50}" for index in range(600)))
        (tmp_path / f"{split}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    return DataConfig(source="text_files", dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))


def encoded(config: DataConfig) -> dict[str, bytes]:
    """The files of the corpus's only cache entry, which is then removed."""
    load_corpus(config)
    (entry,) = cache_root(config).iterdir()
    files = {path.name: path.read_bytes() for path in entry.iterdir()}
    for path in entry.iterdir():
        path.unlink()
    entry.rmdir()
    return files


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_source, "_BLOCK_CHARS", 700)


@pytest.fixture
def several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    # train is longer, the other splits are shorter
    monkeypatch.setattr(block_encoding, "_PARALLEL_CHARS", {"whitespace": 8000, "moses": 8000})
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")


@pytest.mark.parametrize("settings", [{"tokenizer": "moses"}, {"min_count": 2}, {"max_size": 30}], ids=str)
def test_several_processes_and_little_memory_give_the_same_files(
    config: DataConfig, settings: dict[str, object], small_blocks: None, request: pytest.FixtureRequest
) -> None:
    for name, value in settings.items():
        setattr(config, name, value)
    expected = encoded(config)
    assert set(expected) == {
        "checksums.json", "test.int32", "train.int32", "valid.int32", "vocabulary.json", "warnings.json",
    }  # fmt: skip
    patch = request.getfixturevalue("monkeypatch")
    for max_words in (1, 40):
        patch.setattr(word_counts, "MAX_WORDS", max_words)
        assert encoded(config) == expected
    if "max_size" in settings:
        request.getfixturevalue("several_processes")
        assert encoded(config) == expected


def test_the_words_of_a_large_text_are_not_all_in_memory(
    config: DataConfig, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, in_block = [], []
    add = word_counts.WordCounts.add

    def recording(self: word_counts.WordCounts, block: block_encoding.EncodedBlock) -> object:
        numbers = add(self, block)
        held.append(len(self._ids))
        in_block.append(len(block.words))
        return numbers

    monkeypatch.setattr(word_counts, "MAX_WORDS", 60)
    monkeypatch.setattr(word_counts.WordCounts, "add", recording)
    corpus = load_corpus(config)
    assert max(held) < 60 + max(in_block) < len(corpus.vocabulary)


def test_blocks_wait_until_they_are_written_and_do_not_fill_the_memory(small_blocks: None) -> None:
    class Immediate:
        """A pool that is always faster than the writer."""

        def submit(self, function: Callable[..., object], *arguments: object) -> Future[object]:
            done: Future[object] = Future()
            done.set_result(function(*arguments))
            return done

    lines_read = []
    lines = (lines_read.append(number) or "x" * 700 for number in range(100))  # each is a block
    source = text_source.LineSource("lines", lines, size_hint=70_000)
    count = 0
    for count, block in enumerate(block_encoding._in_order(Immediate(), source, "whitespace", processes=2), start=1):
        assert block.words == ["x" * 700, "<eos>"]
        assert len(lines_read) - count <= 2 * block_encoding._BLOCKS_AHEAD
    assert count == 100


def test_progress_and_errors_are_those_of_one_process(
    config: DataConfig, small_blocks: None, several_processes: None
) -> None:
    calls: list[tuple[str, int, int]] = []
    load_corpus(config, lambda *call: calls.append(call))
    done = [count for split, count, _ in calls if split == "train"]
    assert done == sorted(done)
    assert len(done) > 10
    (Path(config.dir or "") / "train.txt").write_bytes(b"a b\n" * 2000 + b"\xff\n")
    with pytest.raises(DataError, match=r"train\.txt: is not UTF-8 text .line 2,001 has the byte 0xff"):
        load_corpus(config)


def test_a_process_that_dies_is_reported(config: DataConfig, several_processes: None) -> None:
    def kill_the_others(*_: object) -> None:
        for child in children(os.getpid()):
            os.kill(child, signal.SIGKILL)

    text = Path(config.dir or "") / "train.txt"
    text.write_bytes(text.read_bytes() * 1000)
    with pytest.raises(DataError, match=r"train\.txt: a process that encodes it died, perhaps out of memory"):
        load_corpus(config, kill_the_others)
    assert list(cache_root(config).iterdir()) == []


def children(process: int) -> list[int]:
    """Process ids of the children that encode; not of the helper of loky that removes files."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return [child for child in found if "popen_loky_posix" in Path(f"/proc/{child}/cmdline").read_text()]


SCRIPT = """
    import signal, time
    from pathlib import Path
    from lstm_lm.data import block_encoding
    from lstm_lm.data.config import DataConfig
    from lstm_lm.data.encoding import load_corpus

    block_encoding._PARALLEL_CHARS = {"whitespace": 0}
    # a shell that runs the tests in the background makes them ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def wait(*_):
        Path("encoding").touch()
        time.sleep(600)

    load_corpus(DataConfig(source="text_files", dir=".", cache_dir="cache"), wait)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_no_process_remains_of_an_interrupted_encoding(stop: signal.Signals, config: DataConfig) -> None:
    folder = Path(config.dir or "")
    (folder / "train.txt").write_text("a b c d\n" * 300_000)
    log = folder / "log"
    with log.open("w") as output:
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
        environment = os.environ | {"LOKY_MAX_CPU_COUNT": "2"}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stderr=output, stdout=output, start_new_session=True
        )
    try:
        wait_until(lambda: (folder / "encoding").exists() or process.poll() is not None, log)
        assert process.poll() is None, log.read_text()
        workers = children(process.pid)
        assert len(workers) == 2
        if stop == signal.SIGINT:
            os.killpg(process.pid, stop)
        else:
            process.kill()
        process.wait(DEADLINE)
        wait_until(lambda: not any(running(worker) for worker in workers), "the processes still run")
    finally:
        process.kill()
    if stop == signal.SIGINT:
        assert list((folder / "cache").iterdir()) == []
        assert log.read_text().count("Traceback") == 1, "of the script, which does not catch KeyboardInterrupt"


def running(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
