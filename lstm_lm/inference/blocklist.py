"""Words that are never suggested: the shipped list, and a list of the operator's own."""

from importlib.resources import files
from pathlib import Path

from lstm_lm.errors import ConfigError

MAX_WORDS = 100_000


def shipped_blocklist() -> tuple[str, ...]:
    """English slurs and obscenities; source and license are in ``naughty_words/README.md``."""
    text = (files("lstm_lm.inference") / "naughty_words" / "en.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def read_word_file(path: Path, name: str) -> tuple[str, ...]:
    """The words of a UTF-8 text file, one per line; blank lines are skipped.

    Args:
        path: The file.
        name: The setting that names it, for messages.

    Raises:
        ConfigError: If the file cannot be read, is not UTF-8 or has too many words.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError([f"{name}: cannot read {path} ({error.strerror or error}); give a text file"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{name}: {path} is not UTF-8 (byte {error.start}); save it as UTF-8"]) from None
    words = tuple(word for line in lines if (word := line.strip()))
    if len(words) > MAX_WORDS:
        raise ConfigError([f"{name}: {path} has {len(words)} words; the limit is {MAX_WORDS}"])
    return words
