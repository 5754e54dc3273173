"""English prose that ships with CPython: the language reference and the docstrings of the standard library.

Modules are parsed, not imported; the only import is ``pydoc_data.topics``, which is one dictionary. One installation of
Python always gives the same text.
"""

import ast
import hashlib
import inspect
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lstm_lm.data.text_source import split_by_hash
from lstm_lm.errors import DataError

SIZE_HINTS = {"train": 1_200_000, "valid": 110_000, "test": 170_000}
"""Approximate number of characters of each split, for progress bars."""

# tests, code about code, and modules of some platforms only
_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "encodings", "msilib", "pydoc_data"}
# installed packages, and folders without sources
_NOT_STDLIB = {"site-packages", "dist-packages", "lib-dynload", "__pycache__"}
_SKIPPED_PREFIXES = ("_sysconfigdata", "_pydecimal", "config-")

PERCENTAGES = (("train", 80), ("valid", 10), ("test", 10))
"""Percentage of the topics and modules in each split."""
_MIN_PARAGRAPH_WORDS = 4
_MIN_PLAIN_FRACTION = 0.75

_UNDERLINE = re.compile(r"^\s*([*=\-~^\"#+.])\1{2,}\s*$")
_BULLET = re.compile(r"^\s*(?:[*+•-]|\(?(?:\d+|[a-z])[.)])\s+")
_CODE = re.compile(
    r">>>|::=|^\s*(?:\+[-=]|\||\$ |@|#|%|\.\. |(?:async )?def \w|class \w+(?:\(|:$)|exception \w+(?:\(|$)|import \w"
    r"|from \S+ import)",
    re.MULTILINE,
)
_BROKEN_WORD = re.compile(r"(?<=\w)-\n\s*(?=[a-z])")
_ROLE = re.compile(r":[\w:+-]+:`~?([^`<]+?)(?:\s*<[^`>]*>)?`_*")
_LITERAL = re.compile(r"``(.+?)``|`([^`']+?)['`]_{0,2}")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(?=\S)([^*\n]+?)(?<=\S)\1(?![\w*])")
# the language reference puts code in double quotes
_QUOTED_CODE = re.compile(r"(?<!\w)\"(\S+?)\"(?!\w)")
_FOOTNOTE = re.compile(r"\s*\[\d+\]_?")
_PLAIN_WORD = re.compile(r"[(\"']*[A-Za-z]+(?:[-'\u2019/][A-Za-z]+)*[.,;:!?)\"']*")
_SENTENCE_START = re.compile(r"[(\"']*[A-Z]")
_FUNCTION_WORD = re.compile(
    r"\b(?:an?|and|are|as|be|by|can|for|from|if|in|is|it|not|of|on|or|that|the|this|to|with)\b", re.IGNORECASE
)


class DocsSplit:
    """The paragraphs of one split, one per line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __iter__(self) -> Iterator[str]:
        yield from _paragraphs_by_split()[self._name]


@cache
def sources_digest() -> str:
    """sha256 of the sources of the paragraphs and of this module; much faster than extracting the paragraphs."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name, path in _sources():
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def _paragraphs_by_split() -> dict[str, tuple[str, ...]]:
    paragraphs: dict[str, list[str]] = {split: [] for split, _ in PERCENTAGES}
    seen: set[str] = set()
    for name, texts in _documents():
        split = split_by_hash(name, PERCENTAGES)
        for text in texts:
            for paragraph in prose(text):
                # modules repeat paragraphs: one of train must not be in test
                if paragraph not in seen:
                    seen.add(paragraph)
                    paragraphs[split].append(paragraph)
    return {split: tuple(of_split) for split, of_split in paragraphs.items()}


def _documents() -> Iterator[tuple[str, list[str]]]:
    from pydoc_data.topics import topics

    for topic in sorted(topics):
        yield f"topic {topic}", [topics[topic]]
    for name, path in _sources():
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # a code template, not valid Python
        yield f"module {name}", [doc for node in ast.walk(tree) if (doc := _docstring(node))]


def _docstring(node: ast.AST) -> str | None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.get_docstring(node)
    return None


@cache
def _sources() -> tuple[tuple[str, Path], ...]:
    """Name and path of the topics and of every module of the standard library, sorted."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    topics = folder / "pydoc_data" / "topics.py"
    if not topics.is_file():
        raise DataError(
            f"{folder}: this Python has no sources of its standard library; use your own text with data=text_files "
            "data.dir=FOLDER"
        )
    modules = []
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        if (_SKIPPED | _NOT_STDLIB).isdisjoint(parts) and not any(part.startswith(_SKIPPED_PREFIXES) for part in parts):
            modules.append((".".join(parts), path))
    return ((" topics", topics), *sorted(modules))


def prose(text: str) -> Iterator[str]:
    """English paragraphs of a docstring or a page of the reference: each on one line, without markup or code."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text.expandtabs())):
        if _CODE.search(block):
            continue
        item: list[str] = []
        for line in [*block.split("\n"), ""]:
            if item and (not line or _BULLET.match(line) or _UNDERLINE.match(line)):
                paragraph = _plain("\n".join(item))
                if _is_prose(paragraph):
                    yield paragraph
                item = []
            if not _UNDERLINE.match(line):
                item.append(_BULLET.sub("", line))


def _plain(text: str) -> str:
    text = _BROKEN_WORD.sub("-", text)
    text = " ".join(text.split())
    text = _ROLE.sub(r"\1", text)
    text = _LITERAL.sub(lambda match: match[1] or match[2], text)
    text = _EMPHASIS.sub(r"\2", text)
    text = _QUOTED_CODE.sub(r"\1", text)
    text = _FOOTNOTE.sub("", text).strip()
    # in reST two colons introduce code and render as one
    return text[:-1] if text.endswith("::") else text


def _is_prose(paragraph: str) -> bool:
    """Whether a paragraph reads as English: long enough, sentence-like, and mostly plain words."""
    words = paragraph.split()
    if len(words) < _MIN_PARAGRAPH_WORDS or not (_SENTENCE_START.match(paragraph) or paragraph.endswith(".")):
        return False
    plain = sum(_PLAIN_WORD.fullmatch(word) is not None for word in words)
    return plain >= _MIN_PLAIN_FRACTION * len(words) and _FUNCTION_WORD.search(paragraph) is not None
