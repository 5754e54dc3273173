"""Addresses and phone numbers as one word that is never suggested."""

import pytest
from helpers.small_models import PRESETS
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.text.completion import WordIndex
from lstm_lm.text.input_text import tokenize_input
from lstm_lm.text.placeholders import replace_addresses
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, Vocabulary

VOCABULARY = Vocabulary(["see", ".", "!", "(", ")", "<url>", "<phone>", EOS, "<unk>", "url", "urn"], range(11, 0, -1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://a.org/b?c=1#d.", "see <url> ."),
        ("(http://localhost:8000/x)", "( <url> )"),
        ("www.example.museum/page, or Example.com!", "<url> , or <url> !"),
        ("https://a.org/b.html", "<url>"),
        ("mail Jo.Doe+x@mail.example.org.", "mail <email> ."),
        ("call (808) 782-1557 or +1 808-782-1557 or 808.782.1557", "call <phone> or <phone> or <phone>"),
    ],
)
def test_addresses_and_numbers_are_one_word(text: str, expected: str) -> None:
    assert replace_addresses(text).split() == expected.split()


@pytest.mark.parametrize(
    "text",
    [
        "It costs 1,000.50 at 10:30 on 2024-05-06.",
        "e.g. this...and that. Then more",
        "ok.so what",
        "@sam is at home @ 5",
        "call 911 or 555-1234",
        "the number 8087821557 and 3.14159265358979",
        "him.come here",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert replace_addresses(text) == text


@given(st.text(alphabet="a.@:/w-+0 1(", max_size=60))
def test_replacing_twice_is_replacing_once(text: str) -> None:
    assert replace_addresses(replace_addresses(text)) == replace_addresses(text)


def test_moses_keeps_placeholders_whole() -> None:
    words = Tokenizer("moses").words("(<url>) and <email>, <phone>! <unk>'s")
    assert words == ["(", "<url>", ")", "and", "<email>", ",", "<phone>", "!", "<unk>", "'s"]


def test_typed_addresses_are_read_as_the_corpus_has_them() -> None:
    assert tokenize_input("See (https://a.org)!", VOCABULARY) == ["see", "(", "<url>", ")", "!"]
    # the vocabulary has no <email>: the address stays as typed
    assert "<email>" not in tokenize_input("see a@b.org", VOCABULARY)


def test_placeholders_are_never_candidates() -> None:
    index = WordIndex(VOCABULARY)
    assert index.candidates("").surface_forms.count("<url>") == 0
    assert set(index.candidates("ur").surface_forms) == {"url", "urn"}
    assert not index.candidates("<u").surface_forms
    assert {VOCABULARY.word(i) for i in VOCABULARY.special_ids} == {"<url>", "<phone>", EOS, "<unk>"}


def test_placeholders_are_never_generated() -> None:
    import torch

    from lstm_lm.inference.engine import Engine
    from lstm_lm.inference.torch_backend import TorchBackend
    from lstm_lm.nn.config import ModelConfig
    from lstm_lm.nn.model import LSTMLanguageModel

    torch.manual_seed(0)
    network = LSTMLanguageModel(ModelConfig(embedding_dim=8, hidden_dims=[8]), len(VOCABULARY)).eval()
    engine = Engine(TorchBackend(network), VOCABULARY, PRESETS, "balanced")
    sampling = engine.resolve_sampling(seed=1, strategy="sample", ban_tokens=[], ban_unk=False)
    words = set(engine.generate("see", sampling, max_words=300).words)
    assert "<unk>" in words
    assert not words & {"<url>", "<phone>"}
