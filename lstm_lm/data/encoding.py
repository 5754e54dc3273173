"""Corpora as rows of word ids, made once and kept on disk."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.cache import build_once, cache_root
from lstm_lm.data.config import DataConfig
from lstm_lm.data.corpora import SPLITS, TextSource, open_split
from lstm_lm.errors import ConfigError, DataError
from lstm_lm.text import tokenizer as tokenizer_module
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, Vocabulary

Ids = NDArray[np.int32]
# called with the split, the characters encoded so far and about how many there are
Progress = Callable[[str, int, int], None]

_FORMAT = 2
_WARNINGS = "warnings.json"
_DTYPE = np.dtype("<i4")
_CHUNK = 1 << 20
_EOS_AT_LINE_END = re.compile(rf"(?<!\S){EOS}[^\S\n]*\n")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedCorpus:
    """A corpus as word ids.

    Attributes:
        vocabulary: The words, from train alone.
        splits: ``train``, ``valid`` and ``test``: every word plus one ``<eos>`` a line, blank lines included; shape
            (n,), int32, memory-mapped and read-only.
        tokenizer: How text was cut into words.
        config: Where it came from.
    """

    vocabulary: Vocabulary
    splits: dict[str, Ids]
    tokenizer: str
    config: DataConfig


def load_corpus(config: DataConfig, progress: Progress | None = None) -> EncodedCorpus:
    """Read a corpus from the cache, or encode it there first.

    The entry's key is made of the text, the tokenizer and the vocabulary's settings, so a changed file is encoded
    anew. Encoding streams: its memory does not grow with the text, only with the number of different words.

    Args:
        config: Which corpus, and how.
        progress: Told how far encoding is; not called where the cache has it.

    Raises:
        ConfigError: If the spec has problems.
        DataError: If the text is missing, empty, unreadable or has no vocabulary, or the cache cannot be written.
    """
    _check(config)
    texts = {split: open_split(config, split) for split in SPLITS}
    key = _key(
        {split: text.digest() for split, text in texts.items()}, config.tokenizer, config.min_count, config.max_size
    )
    folder = cache_root(config) / f"{config.source}-{key}"

    def write(partial: Path) -> None:
        vocabulary = _encode_train(texts["train"], config, partial / "train.int32", progress)
        vocabulary.save(partial / "vocabulary.json")
        for split in SPLITS[1:]:
            _encode_known(texts[split], split, config, vocabulary, partial / f"{split}.int32", progress)
        _save_warnings(partial, texts.values())

    build_once(folder, write)
    corpus = EncodedCorpus(
        vocabulary=Vocabulary.load(folder / "vocabulary.json"),
        splits={split: _map(folder / f"{split}.int32") for split in SPLITS},
        tokenizer=config.tokenizer,
        config=config,
    )
    _log_warnings(folder)
    for warning in _unknown_words(corpus):
        log.warning(warning)
    return corpus


def _save_warnings(folder: Path, texts: Iterable[TextSource]) -> None:
    """Keep what encoding noticed, so that a corpus from the cache is warned of too."""
    found = [
        f"{text.where}: {text.eos_lines:,} lines end in {EOS} already, and each line end counts as one more; remove "
        f"them, for example with sed 's/ *{EOS} *$//'"
        for text in texts
        if text.eos_lines
    ]
    (folder / _WARNINGS).write_text(json.dumps(found), encoding="utf-8")


def _log_warnings(folder: Path) -> None:
    for warning in json.loads((folder / _WARNINGS).read_bytes()):
        log.warning(warning)


def _unknown_words(corpus: EncodedCorpus) -> Iterator[str]:
    """A warning where valid or test has words that training cannot prepare the model for."""
    vocabulary = corpus.vocabulary
    if vocabulary.counts[vocabulary.unk_id]:
        return
    for split in SPLITS[1:]:
        ids = corpus.splits[split]
        if unknown := int(np.count_nonzero(ids == vocabulary.unk_id)):
            yield (
                f"{unknown:,} of {len(ids):,} words of {split} ({unknown / len(ids):.1%}) are not in the vocabulary, "
                "and train has no <unk> from which the model could learn them, so their probability will be near 0; "
                "data.min_count=3 makes rare words of train <unk>"
            )
            return


def encode_split(config: DataConfig, split: str, vocabulary: Vocabulary, progress: Progress | None = None) -> Ids:
    """One split in a given vocabulary, as a checkpoint brings it; cached like :func:`load_corpus`.

    Returns:
        Word ids, shape (n,), int32, memory-mapped and read-only; words that are not in the vocabulary are ``<unk>``.

    Raises:
        ConfigError: If the spec has problems.
        DataError: If the text is missing, empty or unreadable, or the cache cannot be written.
    """
    _check(config)
    if split not in SPLITS:
        raise DataError(f"split: unknown (got {split!r}); use one of {', '.join(SPLITS)}")
    text = open_split(config, split)
    key = _key({split: text.digest()}, config.tokenizer, vocabulary.fingerprint)
    folder = cache_root(config) / f"{config.source}-{split}-{key}"

    def write(partial: Path) -> None:
        _encode_known(text, split, config, vocabulary, partial / f"{split}.int32", progress)
        _save_warnings(partial, [text])

    build_once(folder, write)
    _log_warnings(folder)
    return _map(folder / f"{split}.int32")


def first_ids(corpus: EncodedCorpus, split: str, count: int) -> list[int]:
    """The first ids of a split, from its text instead of the cache.

    Args:
        corpus: A corpus from :func:`load_corpus`.
        split: ``train``, ``valid`` or ``test``.
        count: Most ids; fewer where the first block of the text has fewer.
    """
    tokenizer = Tokenizer(corpus.tokenizer)
    block = next(open_split(corpus.config, split).blocks())
    words: list[str] = []
    for line in block.split("\n")[:-1]:
        words += [*tokenizer.words(line), EOS]
        if len(words) >= count:
            break
    return corpus.vocabulary.encode(words[:count])


def _check(config: DataConfig) -> None:
    if problems := config.problems():
        raise ConfigError([f"data.{problem}" for problem in problems])


def _key(*parts: object) -> str:
    content = json.dumps([_FORMAT, tokenizer_module.VERSION, *parts], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _map(path: Path) -> Ids:
    try:
        return np.memmap(path, dtype=_DTYPE, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"{path.parent}: this cache entry is damaged ({error}); delete the folder") from error


class _Numbering(dict[str, int]):
    """Gives every word it is asked for the first time the next number."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


class _Known(dict[str, int]):
    """Gives ``<unk>``'s id for every other word, and does not grow."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__((word, index) for index, word in enumerate(vocabulary.words))
        self._unk_id = vocabulary.unk_id

    def __missing__(self, word: str) -> int:
        return self._unk_id


def _encode_train(text: TextSource, config: DataConfig, path: Path, progress: Progress | None) -> Vocabulary:
    """Encode while the vocabulary is still unknown: words are numbered as they come, and renumbered in the end."""
    numbering = _Numbering()
    counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    provisional = path.with_suffix(".provisional")
    with provisional.open("wb") as file:
        for ids in _encoded(text, "train", config, numbering, progress):
            file.write(ids.data)
            # a new array as long as the vocabulary is small beside a block of words
            more = np.bincount(ids, minlength=len(numbering))
            more[: len(counts)] += counts
            counts = more
    vocabulary = Vocabulary.from_counts(
        dict(zip(numbering, counts.tolist(), strict=True)), min_count=config.min_count, max_size=config.max_size
    )
    num_known = len(vocabulary) - 2
    if num_known < 2:
        raise DataError(
            f"{text.where}: gives a vocabulary of {num_known} word{'' if num_known == 1 else 's'}; a language model "
            f"needs at least 2, so give it more text or lower data.min_count (got {config.min_count})"
        )
    final = np.array(vocabulary.encode(numbering), dtype=_DTYPE)
    with provisional.open("rb") as source, path.open("wb") as file:
        while len(ids := np.fromfile(source, dtype=_DTYPE, count=_CHUNK)):
            file.write(final[ids].data)
    provisional.unlink()
    return vocabulary


def _encode_known(
    text: TextSource, split: str, config: DataConfig, vocabulary: Vocabulary, path: Path, progress: Progress | None
) -> None:
    with path.open("wb") as file:
        for ids in _encoded(text, split, config, _Known(vocabulary), progress):
            file.write(ids.data)


def _encoded(
    text: TextSource, split: str, config: DataConfig, numbers: dict[str, int], progress: Progress | None
) -> Iterator[Ids]:
    """The ids of a text, block by block.

    Raises:
        DataError: If there is not one word in it.
    """
    tokenizer = Tokenizer(config.tokenizer)
    done = 0
    any_word = False
    for block in text.blocks():
        if EOS in block:
            text.eos_lines += len(_EOS_AT_LINE_END.findall(block))
        words = _block_words(block, tokenizer)
        any_word = any_word or any(word != EOS for word in words)
        yield np.fromiter(map(numbers.__getitem__, words), dtype=_DTYPE, count=len(words))
        done += len(block)
        if progress is not None:
            progress(split, done, max(done, text.size))
    if not any_word:
        raise DataError(f"{text.where}: the {split} split is empty; give it at least one line of text")
    if progress is not None:
        progress(split, done, done)


def _block_words(block: str, tokenizer: Tokenizer) -> list[str]:
    """Words of some lines, each line break as ``<eos>``."""
    if tokenizer.name == "whitespace":
        return block.replace("\n", f" {EOS} ").split()
    words: list[str] = []
    *lines, rest = block.split("\n")
    for line in lines:
        words += tokenizer.words(line)
        words.append(EOS)
    return words + tokenizer.words(rest)
