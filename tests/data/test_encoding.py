"""Encoding: exact counts, cache keys, and errors for bad input."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.waiting import DEADLINE, wait_until

from lstm_lm.data import encoding
from lstm_lm.data.cache import cache_root
from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import EncodedCorpus, encode_split, load_corpus
from lstm_lm.errors import ConfigError, DataError
from lstm_lm.text.vocabulary import EOS, UNK, Vocabulary

TEXT = {"train": "a b b c c c\n\nd c b a\n", "valid": "a x c\n", "test": "c b\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split, text in TEXT.items():
        (folder / f"{split}.txt").write_text(text)
    return folder


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(source="text_files", dir=str(folder), cache_dir=str(tmp_path / "cache"))


def words(vocabulary: Vocabulary, ids: np.ndarray) -> list[str]:
    return [vocabulary.word(int(i)) for i in ids]


def entries(config: DataConfig) -> list[str]:
    return sorted(path.name for path in cache_root(config).iterdir())


def test_wikitext2_has_the_published_counts(wikitext2_dir: Path) -> None:
    corpus = load_corpus(DataConfig(source="text_files", dir=str(wikitext2_dir)))
    assert len(corpus.vocabulary) == 33_278
    sizes = {split: len(ids) for split, ids in corpus.splits.items()}
    assert sizes == {"train": 2_088_628, "valid": 217_646, "test": 245_569}
    assert int((corpus.splits["train"] == corpus.vocabulary.unk_id).sum()) == 54_625
    assert int((corpus.splits["test"] == corpus.vocabulary.eos_id).sum()) == 4_358
    assert corpus.vocabulary.words[:4] == ("the", ",", ".", "of")
    counts = np.bincount(corpus.splits["train"], minlength=33_278)
    assert counts.tolist() == list(corpus.vocabulary.counts)


def test_splits_are_words_and_one_eos_per_line(config: DataConfig) -> None:
    corpus = load_corpus(config)
    assert " ".join(words(corpus.vocabulary, corpus.splits["train"])) == "a b b c c c <eos> <eos> d c b a <eos>"
    assert words(corpus.vocabulary, corpus.splits["valid"]) == ["a", UNK, "c", EOS]
    assert set(corpus.vocabulary.words) == {"a", "b", "c", "d", EOS, UNK}
    assert corpus.splits["train"].dtype == np.int32
    assert not corpus.splits["train"].flags.writeable
    assert isinstance(corpus.splits["train"], np.memmap)


@pytest.mark.parametrize("text", ["a b", "a b\n", "a \tb  \r\n", "\ufeffa b\n", "\ufeff\ufeffa b\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_line_ends_and_byte_order_marks_make_no_difference(
    config: DataConfig, folder: Path, text: str, encoding: str
) -> None:
    (folder / "valid.txt").write_bytes(text.encode(encoding))
    corpus = load_corpus(config)
    assert words(corpus.vocabulary, corpus.splits["valid"]) == ["a", "b", EOS]


def test_marks_of_joined_files_are_dropped_and_others_stay(config: DataConfig, folder: Path) -> None:
    """WikiText-2 has marks in the middle of lines, as a word of its published vocabulary."""
    (folder / "train.txt").write_text("\ufeffa b\n" * 3 + "a \ufeff b\n")
    corpus = load_corpus(config)
    assert " ".join(words(corpus.vocabulary, corpus.splits["train"])) == "a b <eos> " * 3 + "a \ufeff b <eos>"


@pytest.mark.parametrize("tokenizer", ["whitespace", "moses"])
def test_long_lines_and_many_blocks_lose_nothing(config: DataConfig, folder: Path, tokenizer: str) -> None:
    """Some corpora are one long line, which is split into blocks too."""
    config.tokenizer = tokenizer
    one_line = " ".join(f"w{i % 97}" for i in range(600_000 if tokenizer == "whitespace" else 300_000))
    (folder / "train.txt").write_text(one_line)
    (folder / "valid.txt").write_text(one_line.replace(" w96 ", " w96\n"))
    corpus = load_corpus(config)
    assert words(corpus.vocabulary, corpus.splits["train"]) == [*one_line.split(), EOS]
    expected = [part for line in one_line.replace(" w96 ", " w96\n").split("\n") for part in [*line.split(), EOS]]
    assert words(corpus.vocabulary, corpus.splits["valid"]) == expected


def test_tokenizer_min_count_and_max_size_are_applied(config: DataConfig, folder: Path) -> None:
    (folder / "train.txt").write_text("Don't stop, don't stop at 1,000 well-known things.\n" * 3 + "rare one\n")
    config.tokenizer, config.min_count = "moses", 2
    corpus = load_corpus(config)
    assert corpus.tokenizer == "moses"
    assert {"'t", "@-@", "@,@", "don"} < set(corpus.vocabulary.words)
    assert "rare" not in corpus.vocabulary
    config.max_size = 5
    assert len(load_corpus(config).vocabulary) == 5


def test_a_cached_corpus_is_not_encoded_again(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    first = load_corpus(config, lambda *call: calls.append(call))
    assert {split for split, _, _ in calls} == {"train", "valid", "test"}
    assert all(0 < done <= total for _, done, total in calls)
    monkeypatch.setattr(encoding, "_encode_blocks", lambda *_: pytest.fail("encoded again"))
    cached = load_corpus(config, lambda *_: pytest.fail("progress of a cached corpus"))
    assert cached.vocabulary == first.vocabulary
    assert all(np.array_equal(cached.splits[split], ids) for split, ids in first.splits.items())


@pytest.mark.parametrize("change", ["content", "tokenizer", "min_count", "max_size"])
def test_every_change_encodes_again(config: DataConfig, folder: Path, change: str) -> None:
    load_corpus(config)
    if change == "content":
        stat = (folder / "valid.txt").stat()
        (folder / "valid.txt").write_text("b x c\n")
        os.utime(folder / "valid.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        setattr(config, change, {"tokenizer": "moses", "min_count": 2, "max_size": 4}[change])
    load_corpus(config)
    assert len(entries(config)) == 2


def test_a_split_is_encoded_with_another_vocabulary(config: DataConfig) -> None:
    vocabulary = Vocabulary.from_counts({"x": 3, "c": 2})
    ids = encode_split(config, "valid", vocabulary)
    assert words(vocabulary, ids) == [UNK, "x", "c", EOS]
    assert np.array_equal(encode_split(config, "valid", vocabulary), ids)
    corpus = load_corpus(config)
    assert np.array_equal(encode_split(config, "test", corpus.vocabulary), corpus.splits["test"])
    with pytest.raises(DataError, match=r"split: unknown .got 'dev'.; use one of train, valid, test"):
        encode_split(config, "dev", vocabulary)


def test_a_killed_encoding_leaves_no_cache_entry(config: DataConfig) -> None:
    script = (
        "import os, sys\n"
        "from lstm_lm.data.encoding import load_corpus\n"
        "from lstm_lm.data.config import DataConfig\n"
        "load_corpus(DataConfig(source='text_files', dir=sys.argv[1], cache_dir=sys.argv[2]),\n"
        "            lambda split, *_: os._exit(9) if split == 'test' else None)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(config.dir), str(config.cache_dir)], check=False)
    assert killed.returncode == 9
    lock, partial = entries(config)
    assert lock.startswith(".lock-")
    assert partial.startswith(".partial-")
    old = time.time() - 2 * 24 * 3600
    for path in [*(cache_root(config) / partial).iterdir(), cache_root(config) / partial]:
        os.utime(path, (old, old))
    assert len(load_corpus(config).splits["train"]) == 13
    assert len(entries(config)) == 1


@pytest.mark.parametrize("name", ["train.int32", "valid.int32", "test.int32", "vocabulary.json", "checksums.json"])
@pytest.mark.parametrize("damage", ["halved", "zeroed", "out of range", "emptied", "removed"])
def test_a_damaged_cache_is_noticed_and_encoded_again(
    name: str, damage: str, config: DataConfig, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_corpus(config)
    expected = {split: ids.copy() for split, ids in first.splits.items()}
    path = cache_root(config) / entries(config)[0] / name
    whole = path.read_bytes()
    # a new file: the old one is mapped by this process
    path.unlink()
    if damage != "removed":
        changed = {"halved": whole[: len(whole) // 8 * 4], "zeroed": bytes(len(whole)), "emptied": b""}
        path.write_bytes(changed.get(damage, b"\xff\xff\xff\x7f" + whole[4:]))
    again = load_corpus(config)
    assert "this cache entry is damaged; it is built again" in caplog.text
    assert again.vocabulary == first.vocabulary
    for split, ids in expected.items():
        assert np.array_equal(again.splits[split], ids)
        assert np.array_equal(first.splits[split], ids), "the files of a running process were changed"
    caplog.clear()
    load_corpus(config)
    assert "damaged" not in caplog.text
    assert len(entries(config)) == 1


def test_a_damaged_split_in_another_vocabulary_is_encoded_again(config: DataConfig) -> None:
    vocabulary = Vocabulary.from_counts({"x": 3, "c": 2})
    expected = encode_split(config, "valid", vocabulary).copy()
    (path,) = cache_root(config).glob("*/valid.int32")
    path.write_bytes(bytes(len(path.read_bytes())))
    assert np.array_equal(encode_split(config, "valid", vocabulary), expected)


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o700), (0o022, 0o755), (0o002, 0o775)])
def test_a_cache_folder_follows_the_umask(umask: int, mode: int, config: DataConfig) -> None:
    before = os.umask(umask)
    try:
        load_corpus(config)
    finally:
        os.umask(before)
    entry = cache_root(config) / entries(config)[0]
    assert entry.stat().st_mode & 0o777 == mode
    assert all(path.stat().st_mode & 0o777 == mode & 0o666 for path in entry.iterdir())


def test_of_two_processes_one_encodes_and_the_other_waits(config: DataConfig, caplog: pytest.LogCaptureFixture) -> None:
    """As the ranks of a run do; threads stand for the processes."""
    caplog.set_level("INFO")
    with ThreadPoolExecutor() as pool:
        others: list[Future[EncodedCorpus]] = []

        def start_another(split: str, *_: int) -> None:
            if not others:
                others.append(pool.submit(load_corpus, config, lambda *_: pytest.fail("encoded again")))
                wait_until(lambda: "waiting for another process" in caplog.text)

        first = load_corpus(config, start_another)
        (other,) = (future.result(DEADLINE) for future in others)
    assert all(np.array_equal(other.splits[split], ids) for split, ids in first.splits.items())
    assert len(entries(config)) == 1


def test_without_locks_two_processes_encode_at_the_same_time(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)

    def encode_meanwhile(split: str, *_: int) -> None:
        if split == "test":
            load_corpus(config)

    assert len(load_corpus(config, encode_meanwhile).splits["train"]) == 13
    assert len(entries(config)) == 1


def test_error_for_a_full_disk_names_the_remedy(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(encoding, "_write_split", full)
    with pytest.raises(DataError, match=r"No space left on device.*free some space.*data\.cache_dir"):
        load_corpus(config)
    assert entries(config) == []


def test_error_for_an_unwritable_cache_names_the_remedy(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config.cache_dir = str(tmp_path / "file" / "cache")
    with pytest.raises(DataError, match=r"cannot write a cache entry .*data\.cache_dir"):
        load_corpus(config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"valid\.txt: no such file; data\.dir must contain train\.txt"),
        (b"", r"valid\.txt: the valid split is empty; it needs at least one line"),
        (b"\n \n\n", r"valid\.txt: the valid split is empty"),
        (b"a b\0c\n", r"valid\.txt: is binary, not text; use plain UTF-8 text"),
        (b"a\nb\n" + "schön\n".encode("latin-1"), r"valid\.txt: is not UTF-8 text .line 3 has the byte 0xf6.; conv"),
        (b"a b\n" * 2**19 + b"\xff\n", r"valid\.txt: is not UTF-8 text .line 524,289 has the byte 0xff.; convert it"),
        ("a b\n".encode("utf-16")[:-1], r"valid\.txt: begins with a byte order mark of utf-16, but is not such text"),
    ],
)
def test_error_for_a_bad_file_has_its_path_and_the_remedy(
    config: DataConfig, folder: Path, content: bytes | None, message: str
) -> None:
    (folder / "valid.txt").unlink() if content is None else (folder / "valid.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_corpus(config)


@pytest.mark.parametrize("name", ["ptb.{0}.txt", "wiki.{0}.tokens", "{0}.tokens", "wiki.{0}.raw"])
def test_files_under_the_names_of_known_corpora_are_found(name: str, config: DataConfig, folder: Path) -> None:
    expected = load_corpus(config)
    for split in TEXT:
        (folder / f"{split}.txt").rename(folder / name.format(split))
    (folder / "notes.txt").write_text("x")
    found = load_corpus(config)
    assert all(np.array_equal(found.splits[split], ids) for split, ids in expected.splits.items())
    (folder / "train.txt").write_text(TEXT["train"])  # the plain name wins
    load_corpus(config)


def test_several_files_of_a_split_are_named(config: DataConfig, folder: Path) -> None:
    (folder / "valid.txt").rename(folder / "wiki.valid.tokens")
    (folder / "ptb.valid.txt").write_text("a b\n")
    with pytest.raises(
        DataError, match=r"several files of the valid split .ptb\.valid\.txt, wiki\.valid\.tokens.; name"
    ):
        load_corpus(config)


def test_a_file_as_the_folder_is_named_with_its_folder(config: DataConfig, folder: Path) -> None:
    config.dir = str(folder / "train.txt")
    with pytest.raises(DataError, match=r"train\.txt: is a file; use its folder, data\.dir=.*/corpus, or .*=text_file"):
        load_corpus(config)


def test_line_ends_that_are_marked_twice_are_warned_of(
    config: DataConfig, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "train.txt").write_text("a b c <eos>\n<eos> a b\nc a <eos> \nx<eos>\n<eos>\n")
    for _ in range(2):  # from the cache too
        caplog.clear()
        load_corpus(config)
        assert "train.txt: 3 lines end in <eos> already, and each line end counts as one more; remove" in caplog.text
        assert "valid.txt" not in caplog.text.replace("valid (", "")


@pytest.mark.parametrize(
    ("train", "min_count", "warned"),
    [("a b c\n", 1, True), ("a b <unk>\n", 1, False), ("a b a b rare\n", 2, False), ("a x c\n", 1, False)],
)
def test_unknown_words_that_train_does_not_prepare_for_are_warned_of(
    train: str, min_count: int, warned: bool, config: DataConfig, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "train.txt").write_text(train)
    (folder / "test.txt").write_text("a\n")
    config.min_count = min_count
    load_corpus(config)
    message = "1 of 4 words of valid (25.0%) are not in the vocabulary, and train has no <unk>"
    assert (message in caplog.text) == warned
    assert ("data.min_count=3 makes" in caplog.text) == warned


def test_error_for_a_missing_folder_has_its_path(config: DataConfig) -> None:
    config.dir = "/nowhere/at/all"
    with pytest.raises(DataError, match=r"data\.dir=/nowhere/at/all: no such folder; it must contain train\.txt"):
        load_corpus(config)


@pytest.mark.parametrize(("text", "min_count"), [("a a a\n", 1), ("a b c\n", 2)])
def test_fewer_than_two_words_are_refused(config: DataConfig, folder: Path, text: str, min_count: int) -> None:
    (folder / "train.txt").write_text(text)
    config.min_count = min_count
    with pytest.raises(DataError, match=r"train\.txt: gives a vocabulary of [01] words?, .*lower data\.min_count"):
        load_corpus(config)


def test_all_config_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        load_corpus(DataConfig(source="text_files", tokenizer="bpe", min_count=0))
    assert {problem.split(":")[0] for problem in error.value.problems} == {
        "data.dir",
        "data.tokenizer",
        "data.min_count",
    }
