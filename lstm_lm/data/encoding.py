"""Corpora as word ids, encoded once and cached on disk."""

import hashlib
import json
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.block_encoding import EncodedBlock, encode_blocks
from lstm_lm.data.cache import build_once, cache_root
from lstm_lm.data.config import SPLITS, DataConfig
from lstm_lm.data.corpora import open_split
from lstm_lm.data.corpus_warnings import log_warnings, save_warnings, warn_of_unknown_words
from lstm_lm.data.text_source import TextSource
from lstm_lm.data.word_counts import WordCounts
from lstm_lm.errors import ConfigError, DataError
from lstm_lm.text import tokenizer as tokenizer_module
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, Vocabulary

Ids = NDArray[np.int32]
"""Word ids of a text, shape (n,)."""
EncodingProgress = Callable[[str, int, int], None]
"""Called with the split, the number of characters encoded so far, and the approximate total."""

_FORMAT = 3
_DTYPE = np.dtype("<i4")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class EncodedCorpus:
    """A corpus as word ids."""

    vocabulary: Vocabulary
    """Vocabulary of train; the other splits add no words."""
    splits: dict[str, Ids]
    """Word ids of ``train``, ``valid`` and ``test``: every word plus one ``<eos>`` per line, blank lines included;
    shape (n,), int32, memory-mapped and read-only."""
    tokenizer: str
    """Name of the tokenizer."""
    config: DataConfig
    """Config that the corpus was loaded with."""
    sha256: dict[str, str]
    """sha256 of the ids of each split, in hex."""


def load_corpus(config: DataConfig, progress: EncodingProgress | None = None) -> EncodedCorpus:
    """Load a corpus from the cache; encode it first if the cache does not have it.

    The cache key depends on the text, the tokenizer and the vocabulary settings: a changed file is encoded again.
    Encoding streams the text, with one process per core if it is large: memory grows with the size of the vocabulary
    only.

    Args:
        config: The corpus and its vocabulary.
        progress: Called while encoding; never called for a cached corpus.

    Raises:
        ConfigError: If ``config`` has problems.
        DataError: If the text is missing, empty, unreadable or gives no vocabulary, or the cache is not writable.
    """
    _require_valid(config)
    sources = {split: open_split(config, split) for split in SPLITS}
    digests = {split: source.digest() for split, source in sources.items()}
    key = _key(digests, config.tokenizer, config.min_count, config.max_size)
    folder = cache_root(config) / f"{config.source}-{key}"

    def write(partial: Path) -> None:
        vocabulary = _encode_train(sources["train"], config, partial / "train.int32", progress)
        vocabulary.save(partial / "vocabulary.json")
        for split in SPLITS[1:]:
            _write_split(sources[split], split, config, vocabulary, partial / f"{split}.int32", progress)
        save_warnings(partial, sources.values())

    sha256 = build_once(folder, write)
    corpus = EncodedCorpus(
        vocabulary=Vocabulary.load(folder / "vocabulary.json"),
        splits={split: _map(folder / f"{split}.int32") for split in SPLITS},
        tokenizer=config.tokenizer,
        config=config,
        sha256={split: sha256[f"{split}.int32"] for split in SPLITS},
    )
    log_warnings(folder)
    any(warn_of_unknown_words(corpus.vocabulary, split, corpus.splits[split]) for split in SPLITS[1:])  # one is enough
    return corpus


def encode_split(
    config: DataConfig, split: str, vocabulary: Vocabulary, progress: EncodingProgress | None = None
) -> Ids:
    """Encode one split with a given vocabulary, such as a checkpoint's; cached like :func:`load_corpus`.

    Returns:
        Word ids, shape (n,), int32, memory-mapped and read-only; words outside the vocabulary are ``<unk>``.

    Raises:
        ConfigError: If ``config`` has problems.
        DataError: If the split does not exist, its text is missing, empty or unreadable, or the cache is not writable.
    """
    _require_valid(config)
    if split not in SPLITS:
        raise DataError(f"split: unknown (got {split!r}); use one of {', '.join(SPLITS)}")
    source = open_split(config, split)
    key = _key({split: source.digest()}, config.tokenizer, vocabulary.fingerprint)
    folder = cache_root(config) / f"{config.source}-{split}-{key}"

    def write(partial: Path) -> None:
        _write_split(source, split, config, vocabulary, partial / f"{split}.int32", progress)
        save_warnings(partial, [source])

    build_once(folder, write)
    log_warnings(folder)
    return _map(folder / f"{split}.int32")


def first_words(corpus: EncodedCorpus, split: str, count: int) -> list[str]:
    """The first words of a split, from its text instead of the cache; unknown words are as in the text.

    Args:
        corpus: A corpus from :func:`load_corpus`.
        split: ``train``, ``valid`` or ``test``.
        count: Most words; fewer where the first block of the text has fewer.
    """
    tokenizer = Tokenizer(corpus.tokenizer)
    block = next(open_split(corpus.config, split).blocks())
    words: list[str] = []
    for line in block.split("\n")[:-1]:
        words += [*tokenizer.words(line), EOS]
        if len(words) >= count:
            break
    return words[:count]


def _require_valid(config: DataConfig) -> None:
    if problems := config.problems():
        raise ConfigError([f"data.{problem}" for problem in problems])


def _key(*parts: object) -> str:
    content = json.dumps([_FORMAT, tokenizer_module.VERSION, *parts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _map(path: Path) -> Ids:
    try:
        return np.memmap(path, dtype=_DTYPE, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"{path.parent}: the cache entry is damaged ({error}); delete this folder") from error


def _encode_train(source: TextSource, config: DataConfig, path: Path, progress: EncodingProgress | None) -> Vocabulary:
    """Encode train and build its vocabulary: words are numbered by first occurrence, then renumbered by frequency."""
    counts = WordCounts(path.parent)
    provisional = path.with_suffix(".provisional")
    with provisional.open("wb") as file, closing(_encode_blocks(source, "train", config, progress)) as blocks:
        for block in blocks:
            file.write(counts.add(block).data)
    vocabulary = Vocabulary.from_counts(counts.totals(), min_count=config.min_count, max_size=config.max_size)
    num_words = len(vocabulary) - 2
    if num_words < 2:
        raise DataError(
            f"{source.label}: gives a vocabulary of {num_words} word{'' if num_words == 1 else 's'}, but a model needs "
            f"at least 2; use more text or lower data.min_count (got {config.min_count})"
        )
    with provisional.open("rb") as provisional_file, path.open("wb") as file:
        for num_tokens, final_ids in counts.final_ids(vocabulary):
            for begin in range(0, num_tokens, _CHUNK):
                numbers = np.fromfile(provisional_file, dtype=_DTYPE, count=min(_CHUNK, num_tokens - begin))
                file.write(final_ids[numbers].data)
    provisional.unlink()
    counts.remove_files()
    return vocabulary


def _write_split(
    source: TextSource,
    split: str,
    config: DataConfig,
    vocabulary: Vocabulary,
    path: Path,
    progress: EncodingProgress | None,
) -> None:
    with path.open("wb") as file, closing(_encode_blocks(source, split, config, progress)) as blocks:
        for block in blocks:
            ids = np.array(vocabulary.encode(block.words), dtype=_DTYPE)
            file.write(ids[block.ids].data)


def _encode_blocks(
    source: TextSource, split: str, config: DataConfig, progress: EncodingProgress | None
) -> Generator[EncodedBlock]:
    """The blocks of a text, with progress.

    Raises:
        DataError: If the text has no word.
    """
    done = 0
    has_words = False
    with closing(encode_blocks(source, config.tokenizer)) as blocks:
        for block in blocks:
            source.eos_lines += block.eos_lines
            has_words = has_words or any(word != EOS for word in block.words)
            yield block
            done += block.num_chars
            if progress is not None:
                progress(split, done, max(done, source.size_hint))
    if not has_words:
        raise DataError(f"{source.label}: the {split} split is empty; {source.empty_remedy}")
    if progress is not None:
        progress(split, done, done)
