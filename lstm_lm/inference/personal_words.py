"""A file with a person's own words, earlier texts and blocked words, as the service's page exports it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstm_lm.errors import ConfigError
from lstm_lm.inference.user_words import user_word_problems

FIELDS = ("user_words", "recent", "deny")


@dataclass(frozen=True)
class PersonalWords:
    """What a request of the service has in the fields of these names."""

    user_words: Mapping[str, float] = field(default_factory=dict)
    """Own words and how often they were used."""
    recent: tuple[str, ...] = ()
    """Earlier texts, oldest first."""
    deny: tuple[str, ...] = ()
    """Words that are never suggested."""


def read_personal_words(path: Path) -> PersonalWords:
    """Read a JSON object with the fields ``user_words``, ``recent`` and ``deny``, each of which is optional.

    Raises:
        ConfigError: If the file cannot be read, or a field is unknown or wrong.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError([f"personal: cannot read {path} ({error.strerror or error}); give a JSON file"]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"personal: {path} is not JSON ({error}); give a file that the page exported"]) from None
    if not isinstance(content, dict):
        raise ConfigError([f"personal: {path} is not a JSON object; give one with {', '.join(FIELDS)}"])
    if problems := _problems(content):
        raise ConfigError([f"personal: {path}: {problem}" for problem in problems])
    return PersonalWords(
        content.get("user_words", {}), tuple(content.get("recent", ())), tuple(content.get("deny", ()))
    )


def _problems(content: Mapping[str, Any]) -> list[str]:
    problems = [f"{name}: unknown field; use {', '.join(FIELDS)}" for name in content if name not in FIELDS]
    words = content.get("user_words", {})
    counts = words.values() if isinstance(words, dict) else ()
    if not isinstance(words, dict) or any(type(count) not in (int, float) for count in counts):
        problems.append("user_words: must be an object with a count for each word")
    else:
        problems += user_word_problems(words)
    for name in ("recent", "deny"):
        texts = content.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            problems.append(f"{name}: must be a list of strings")
    return problems
