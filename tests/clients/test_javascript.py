"""The JavaScript client's tokenizer and detokenizer, in node, give what the Python ones give."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from lstm_lm.data.chat import ChatSplit
from lstm_lm.data.python_docs import DocsSplit
from lstm_lm.inference.client_rules import client_rules
from lstm_lm.text.detokenize import detokenize
from lstm_lm.text.input_text import split_text, tokenize_input
from lstm_lm.text.placeholders import PLACEHOLDERS
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import Vocabulary

SCRIPT = Path(__file__).parents[2] / "clients" / "web" / "test" / "words.js"
CHAT_LINES, PROSE_LINES = 7_000, 3_000
# what chat and prose seldom have
ODD = [
    "don’t cafe\u0301 10:30 joe@example.org https://a.b/c?d=1. (the) \"quoted\" 'tis the Jones' house",
    "1,000.5 U.S. Mr. Smith",
    "e.g. this No. 5 and No. five a--b x...y ... .... end.'",
    "日本語 テスト 한국어 텍스트 ½ ² Ⅳ ß ﬁ İ 🎉🏳️‍🌈 x\ufeffy „hi“ «a» ``b'' `c` $5 €3 C++ #tag @me",
    "<unk> <eos> <url> 555-123-4567 +1 (555) 123-4567 www.example.org example.com,",
    "a\x01b\x1fc\x85d\u2028e\u00a0f\u3000g",
    "well-known rock'n'roll O'Brien 'the 90's James's, don' 'm ''' \"\" \"a",
    "I'm. He's... it's?! [a] {b} a/b 1/2 3,4 ,5 6, a,b 1.2.3 1,2,3rd ½,3 @-@ @,@ @.@",
    "",
    " ",
    "\u0301 \u200d \U0001f600\u0301 a\u20dd",
    "the th\u200b",
    "Stra\u00dfe STRA\u1e9eE \ufb01n \u0149 \u017fo I\u0130\u0131i \u03a3\u03b9\u03c3\u03bf\u03c2 \u01c5 \u0345",
    "the \u2764\ufe0f",
    "the 1\ufe0f\u20e3",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0939\u093f",
]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    words = """the a I don't don 't London Mr. @-@ @,@ café 's well known . , PYTHON""".split()  # noqa: SIM905
    return Vocabulary(["<unk>", "<eos>", *words, *PLACEHOLDERS], [1] * (5 + len(words)))


def in_node(texts: Sequence[str], vocabulary: Vocabulary, folder: Path) -> list[dict[str, object]]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed; run `apt-get install nodejs` as root")
    rules, words = folder / "rules.json", folder / "vocabulary.json"
    rules.write_text(json.dumps(client_rules(vocabulary)))
    vocabulary.save(words)
    result = subprocess.run(
        ["node", SCRIPT, rules, words],
        input="".join(f"{json.dumps(text)}\n" for text in texts),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.removesuffix("\n").split("\n")]


def test_words_and_text_are_those_of_python(vocabulary: Vocabulary, tmp_path: Path) -> None:
    texts = [*ODD, *islice(ChatSplit("train"), CHAT_LINES), *islice(DocsSplit("train"), PROSE_LINES)]
    assert len(texts) == len(ODD) + CHAT_LINES + PROSE_LINES
    moses = Tokenizer("moses")
    for text, found in zip(texts, in_node(texts, vocabulary, tmp_path), strict=True):
        words = moses.words(text)
        assert found == {
            "words": words,
            "text": detokenize(words),
            "input": tokenize_input(text, vocabulary),
            "split": list(split_text(text)),
            "folded": text.casefold(),
        }


def test_every_character_is_read_alike(vocabulary: Vocabulary, tmp_path: Path) -> None:
    # in words, between digits, after an apostrophe, and alone; not the newest, which node may not know
    codes = [code for code in range(0x20, 0x3000) if not 0x1C80 <= code < 0x1D00]
    texts = [f"a{char}b 1{char}2 {char} '{char}" for char in map(chr, codes)]
    moses = Tokenizer("moses")
    differing = [
        hex(code)
        for code, text, found in zip(codes, texts, in_node(texts, vocabulary, tmp_path), strict=True)
        if found["words"] != moses.words(text) or found["input"] != tokenize_input(text, vocabulary)
    ]
    assert differing == []
