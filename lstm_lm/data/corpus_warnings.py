"""What a user should know about a corpus before a training: kept with the encoded corpus, so each run logs it."""

import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.text_source import TextSource
from lstm_lm.text.vocabulary import EOS, Vocabulary

_FILE = "warnings.json"
_EOS_AT_LINE_END = re.compile(rf"(?<!\S){EOS}[^\S\n]*\n")

log = logging.getLogger(__name__)


def count_eos_lines(block: str) -> int:
    """Number of lines that end in the word ``<eos>``."""
    return len(_EOS_AT_LINE_END.findall(block)) if EOS in block else 0


def save_warnings(folder: Path, sources: Iterable[TextSource]) -> None:
    """Write the warnings about encoded texts into their cache entry."""
    found = [
        f"{source.label}: {source.eos_lines:,} lines end in {EOS} already, and each line end counts as one more; "
        f"remove them, for example with sed 's/ *{EOS} *$//'"
        for source in sources
        if source.eos_lines
    ]
    (folder / _FILE).write_text(json.dumps(found), encoding="utf-8")


def log_warnings(folder: Path) -> None:
    """Log the warnings of a cache entry."""
    for warning in json.loads((folder / _FILE).read_bytes()):
        log.warning(warning)


def warn_of_unknown_words(vocabulary: Vocabulary, split: str, ids: NDArray[np.int32]) -> bool:
    """Warn if ``split`` has unknown words and train has none, from which the model could learn ``<unk>``."""
    unknown = int(np.count_nonzero(ids == vocabulary.unk_id))
    if vocabulary.counts[vocabulary.unk_id] or not unknown:
        return False
    log.warning(
        "%s of %s words of %s (%.1f%%) are not in the vocabulary, and train has no <unk> from which the model could "
        "learn them, so their probability will be near 0; data.min_count=3 makes rare words of train <unk>",
        f"{unknown:,}",
        f"{len(ids):,}",
        split,
        100 * unknown / len(ids),
    )
    return True
