"""Completion candidates of a prefix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.text.completion import WordIndex, has_prefix, is_word, normalized, surface_form
from lstm_lm.text.vocabulary import EOS, UNK, Vocabulary

LINE = "the The THE then Theatre theatre straße Strasse STRASSE @-@ - @,@ , US us Us Éa éa İs it's 's 1 10"
WORDS = LINE.split()
VOCABULARY = Vocabulary.from_counts(dict.fromkeys([*WORDS, UNK, EOS], 1))
INDEX = WordIndex(VOCABULARY)

prefixes = st.one_of(
    st.sampled_from(WORDS).flatmap(lambda word: st.integers(0, 4).map(lambda n: word[:n])),
    st.sampled_from(["T", "TH", "ss", "ß", "i", "@", "-", "zz", "😀"]),
)


@given(prefixes, st.booleans())
def test_candidates_are_the_words_with_the_prefix_and_each_has_one_text(prefix: str, capital: bool) -> None:
    candidates = INDEX.candidates(prefix, capital)
    words = [VOCABULARY.word(i) for i in candidates.ids]
    assert sorted(words) == sorted(word for word in WORDS if has_prefix(surface_form(word), prefix))
    assert (
        len(set(candidates.surface_forms))
        == len(candidates.surface_forms)
        == len(candidates.are_words)
        == len(candidates.positions)
    )
    assert sorted(set(candidates.groups.tolist())) == list(range(len(candidates.surface_forms)))
    for word, group in zip(words, candidates.groups.tolist(), strict=True):
        assert candidates.surface_forms[group].casefold() == normalized(word)
        assert candidates.are_words[group] == is_word(word.strip("@"))


@given(prefixes, st.booleans(), st.lists(st.floats(0.0, 1.0), min_size=len(WORDS) + 2, max_size=len(WORDS) + 2))
def test_words_with_the_same_text_add_their_probabilities(prefix: str, capital: bool, probs: list[float]) -> None:
    for candidates in (INDEX.candidates(prefix, capital), INDEX.candidates(prefix, capital).only_words()):
        word_probs = np.array(probs)[candidates.ids]
        summed = candidates.probs(word_probs)
        assert summed.shape == (len(candidates.surface_forms),)
        assert summed.sum() == pytest.approx(word_probs.sum())
        for group in range(len(candidates.surface_forms)):
            assert summed[group] == pytest.approx(word_probs[candidates.groups == group].sum())


@given(prefixes, st.booleans())
def test_only_words_removes_punctuation_and_symbols(prefix: str, capital: bool) -> None:
    candidates = INDEX.candidates(prefix, capital)
    words = candidates.only_words()
    assert list(words.surface_forms) == [text for text in candidates.surface_forms if is_word(text)]
    assert {words.surface_forms[g] for g in words.groups.tolist()} == set(words.surface_forms)
    assert words.are_words.all()


@given(st.lists(st.sampled_from([*WORDS, "Nowhere", "tHe"]), max_size=5, unique=True))
def test_ids_ignoring_case_finds_every_word_with_the_same_text(words: list[str]) -> None:
    texts = {normalized(word) for word in words}
    matches = {VOCABULARY.word(i) for i in INDEX.ids_ignoring_case(words)}
    assert matches == {word for word in WORDS if normalized(word) in texts}
