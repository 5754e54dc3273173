"""The vocabulary: words and their ids."""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lstm_lm.errors import DataError
from lstm_lm.text.files import write_atomically
from lstm_lm.text.normalize import normalize
from lstm_lm.text.placeholders import PLACEHOLDERS

UNK = "<unk>"
EOS = "<eos>"
FORMAT = 1


class Vocabulary:
    """The words that a model knows, numbered by descending frequency; immutable.

    ``<unk>`` and ``<eos>`` are sorted by frequency like any word: the sampled and the adaptive softmax need the most
    frequent words first.

    Args:
        words: Every word once, ``<unk>`` and ``<eos>`` included; a word's position is its id.
        counts: Number of occurrences of each word in train, descending.

    Attributes:
        unk_id: Id of ``<unk>``, which replaces every other word.
        eos_id: Id of ``<eos>``, which ends every line.
        placeholder_ids: Ids of the words that stand for addresses and numbers.
        special_ids: Ids of all of these: words that are never suggested.

    Raises:
        ValueError: If a word repeats, is empty or contains white space, a special word is missing, or ``counts`` has
            another length or is not descending.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]) -> None:
        self.words: tuple[str, ...] = tuple(words)
        self.counts: tuple[int, ...] = tuple(counts)
        self._ids: dict[str, int] = {word: index for index, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            raise ValueError("a word occurs more than once")
        if len(self.counts) != len(self.words):
            raise ValueError(f"{len(self.words)} words need as many counts (got {len(self.counts)})")
        if any(a < b for a, b in zip(self.counts, self.counts[1:], strict=False)):
            raise ValueError("words must be sorted by descending frequency")
        if any(word.split() != [word] for word in self.words):
            raise ValueError("a word is empty or contains white space")
        missing = [special for special in (UNK, EOS) if special not in self._ids]
        if missing:
            raise ValueError(f"{' and '.join(missing)} must be in the vocabulary")
        self.unk_id: int = self._ids[UNK]
        self.eos_id: int = self._ids[EOS]
        self.placeholder_ids = frozenset(self._ids[word] for word in PLACEHOLDERS if word in self._ids)
        self.special_ids = self.placeholder_ids | {self.unk_id, self.eos_id}

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int] | Iterable[tuple[str, int]], min_count: int = 1, max_size: int = 0
    ) -> "Vocabulary":
        """Build a vocabulary from the word counts of train.

        Args:
            counts: Number of occurrences of every word in train, ``<eos>`` included; every word once.
            min_count: Rarer words become ``<unk>``.
            max_size: Largest size, special words included; 0 means no limit.
        """
        total = eos_count = 0

        def candidates() -> Iterator[tuple[str, int]]:
            nonlocal total, eos_count
            for word, n in counts.items() if isinstance(counts, Mapping) else counts:
                total += n
                if word == EOS:
                    eos_count = n
                elif word != UNK and n >= min_count:
                    yield word, n

        # one pass, which keeps no other word: the counts of a large text do not fit in memory
        kept = (
            heapq.nsmallest(max_size - 2, candidates(), key=_by_frequency)
            if max_size
            else sorted(candidates(), key=_by_frequency)
        )
        unk_count = total - eos_count - sum(n for _, n in kept)
        kept = sorted([*kept, (UNK, unk_count), (EOS, eos_count)], key=_by_frequency)
        return cls([word for word, _ in kept], [n for _, n in kept])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.words, self.counts) == (other.words, other.counts)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words, {self.fingerprint[:12]})"

    def id(self, word: str) -> int:
        """Id of ``word``, or ``unk_id`` if it is unknown."""
        return self._ids.get(word, self.unk_id)

    def find(self, word: str) -> str | None:
        """The vocabulary's spelling of ``word``, which is as ``normalize`` returns it; ``None`` if it is unknown."""
        return word if word in self._ids else self._respelled.get(word)

    def word(self, index: int) -> str:
        """The word with id ``index`` in [0, V)."""
        return self.words[index]

    def encode(self, words: Iterable[str]) -> list[int]:
        """Ids of ``words``; unknown ones become ``unk_id``."""
        return [self._ids.get(word, self.unk_id) for word in words]

    @cached_property
    def _respelled(self) -> dict[str, str]:
        # a corpus that was tokenized elsewhere may have curly apostrophes or decomposed letters
        return {normalize(word): word for word in reversed(self.words) if not word.isascii()}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the words in order: vocabularies with equal fingerprints encode text alike."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and checkpoints."""
        return {"format": FORMAT, "words": list(self.words), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Vocabulary":
        """Build a vocabulary from the result of :meth:`to_dict`.

        Raises:
            DataError: If the data has another format, is incomplete or is inconsistent.
        """
        if data.get("format") != FORMAT:
            raise DataError(
                f"vocabulary: this version of lstm_lm reads format {FORMAT} (got {data.get('format')!r}); "
                "update lstm_lm if the format is newer"
            )
        words, counts = data.get("words"), data.get("counts")
        if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            raise DataError("vocabulary: 'words' must be a list of strings; the file is damaged, write it again")
        if not (isinstance(counts, list) and all(type(n) is int for n in counts)):
            raise DataError("vocabulary: 'counts' must be a list of integers; the file is damaged, write it again")
        try:
            "".join(words).encode()  # JSON allows lone surrogates, which UTF-8 does not
            return cls(words, counts)
        except ValueError as error:
            raise DataError(f"vocabulary: {error}; the file is damaged, write it again") from error

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON, atomically."""
        write_atomically(path, json.dumps(self.to_dict(), ensure_ascii=False))

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read a file that :meth:`save` wrote.

        Raises:
            DataError: If the file is unreadable or not a vocabulary.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: not a readable vocabulary ({error}); write it again") from error
        try:
            return cls.from_dict(data)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _by_frequency(item: tuple[str, int]) -> tuple[int, str]:
    return (-item[1], item[0])
