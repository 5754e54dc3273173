"""English prose that every CPython carries: its language reference and the docstrings of its standard library.

Nothing is imported but ``pydoc_data.topics``, which is one dictionary: the modules' sources are parsed. The text is
the same for the same installation of Python.
"""

import ast
import hashlib
import inspect
import re
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lstm_lm.errors import DataError

# about how many characters each split has, for progress
TYPICAL_SIZE = {"train": 1_200_000, "valid": 110_000, "test": 170_000}

# tests, code about code, and what is there on some platforms alone
_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "encodings", "msilib", "pydoc_data"}
# what others put there
_FOREIGN = {"site-packages", "dist-packages", "lib-dynload", "__pycache__"}
_SKIPPED_PREFIXES = ("_sysconfigdata", "_pydecimal", "config-")

_SHARES = ((80, "train"), (90, "valid"), (100, "test"))
_SHORTEST_PARAGRAPH = 4
_PLAIN_SHARE = 0.75

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
# the language reference sets code between double quotes
_QUOTED_CODE = re.compile(r"(?<!\w)\"(\S+?)\"(?!\w)")
_FOOTNOTE = re.compile(r"\s*\[\d+\]_?")
_PLAIN_WORD = re.compile(r"[(\"']*[A-Za-z]+(?:[-'\u2019/][A-Za-z]+)*[.,;:!?)\"']*")
_SENTENCE_START = re.compile(r"[(\"']*[A-Z]")
_FUNCTION_WORD = re.compile(
    r"\b(?:an?|and|are|as|be|by|can|for|from|if|in|is|it|not|of|on|or|that|the|this|to|with)\b", re.IGNORECASE
)


class Split:
    """The paragraphs of one split, one a line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __iter__(self) -> Iterator[str]:
        yield from _paragraphs_by_split()[self._name]


@cache
def sources_digest() -> str:
    """sha256 of everything that the paragraphs follow from, this module included; much quicker than making them."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for name, path in _sources():
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def split_of(name: str) -> str:
    """The split that a topic or module belongs to, from a hash of its name: it never moves."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 100
    return next(split for end, split in _SHARES if place < end)


@cache
def _paragraphs_by_split() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {split: [] for _, split in _SHARES}
    seen: set[str] = set()
    for name, texts in _documents():
        for text in texts:
            for paragraph in prose(text):
                # modules repeat one another; what train has must not be asked in test
                if paragraph not in seen:
                    seen.add(paragraph)
                    found[split_of(name)].append(paragraph)
    return {split: tuple(paragraphs) for split, paragraphs in found.items()}


def _documents() -> Iterator[tuple[str, list[str]]]:
    from pydoc_data.topics import topics

    for topic in sorted(topics):
        yield f"topic {topic}", [topics[topic]]
    for name, path in _sources():
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # a template for code, not code
        yield f"module {name}", [doc for node in ast.walk(tree) if (doc := _docstring(node))]


def _docstring(node: ast.AST) -> str | None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.get_docstring(node)
    return None


@cache
def _sources() -> tuple[tuple[str, Path], ...]:
    """Every module of the standard library by name, and the topics, sorted."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    topics = folder / "pydoc_data" / "topics.py"
    if not topics.is_file():
        raise DataError(
            f"{folder}: this Python comes without the sources of its standard library; use text of your own with "
            "data=text_files data.dir=FOLDER"
        )
    found = []
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        if (_SKIPPED | _FOREIGN).isdisjoint(parts) and not any(part.startswith(_SKIPPED_PREFIXES) for part in parts):
            found.append((".".join(parts), path))
    return ((" topics", topics), *sorted(found))


def prose(text: str) -> Iterator[str]:
    """The paragraphs of a docstring or a page of the reference that read as English, one a line, without markup."""
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
    # in reST two colons announce code and read as one
    return text[:-1] if text.endswith("::") else text


def _is_prose(paragraph: str) -> bool:
    """Whether it is a sentence: long enough, begun or ended like one, mostly plain words, one of the commonest."""
    words = paragraph.split()
    if len(words) < _SHORTEST_PARAGRAPH or not (_SENTENCE_START.match(paragraph) or paragraph.endswith(".")):
        return False
    plain = sum(_PLAIN_WORD.fullmatch(word) is not None for word in words)
    return plain >= _PLAIN_SHARE * len(words) and _FUNCTION_WORD.search(paragraph) is not None
