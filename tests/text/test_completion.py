"""Completion candidates of a prefix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_lm.text.candidates import is_word
from lstm_lm.text.completion import WordIndex, has_prefix, normalized, surface_form
from lstm_lm.text.edits import edited_ranges
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
        summed = candidates.sums(word_probs)
        assert summed.shape == (len(candidates.surface_forms),)
        assert summed.sum() == pytest.approx(word_probs.sum())
        for group in range(len(candidates.surface_forms)):
            assert summed[group] == pytest.approx(word_probs[candidates.groups == group].sum())


@given(prefixes, st.booleans(), st.lists(st.floats(0.0, 1.0), min_size=len(WORDS) + 2, max_size=len(WORDS) + 2))
def test_a_word_has_one_form_and_it_is_the_most_probable(prefix: str, capital: bool, probs: list[float]) -> None:
    candidates = INDEX.candidates(prefix, capital)
    forms = candidates.sums(np.array(probs)[candidates.ids])
    merged = candidates.merge_cases(forms.copy())
    for positions in candidates.positions_ignoring_case.values():
        shown = [i for i in positions if merged[i] > 0.0]
        assert merged[positions].sum() == pytest.approx(forms[positions].sum())
        assert len(shown) <= 1
        weighted = {i: forms[i] * candidates.case_weight(candidates.surface_forms[i]) for i in positions}
        assert all(weighted[i] == max(weighted.values()) for i in shown)


@pytest.mark.parametrize(
    ("prefix", "small", "capital", "shown"),
    [
        ("", 0.1, 0.4, "US"),
        ("", 0.4, 0.1, "us"),
        ("u", 0.1, 0.4, "us"),
        ("u", 0.001, 0.4, "US"),
        ("US", 0.4, 0.1, "US"),
    ],
)
def test_the_typed_case_is_evidence(prefix: str, small: float, capital: float, shown: str) -> None:
    probs = np.zeros(len(VOCABULARY))
    probs[[VOCABULARY.id("us"), VOCABULARY.id("US")]] = small, capital
    candidates = INDEX.candidates(prefix)
    merged = candidates.merge_cases(candidates.sums(probs[candidates.ids]))
    assert [candidates.surface_forms[i] for i in np.flatnonzero(merged)] == [shown]
    assert merged.sum() == pytest.approx(small + capital)


@given(prefixes, st.booleans())
def test_only_words_removes_punctuation_and_symbols(prefix: str, capital: bool) -> None:
    candidates = INDEX.candidates(prefix, capital)
    words = candidates.only_words()
    assert list(words.surface_forms) == [text for text in candidates.surface_forms if is_word(text)]
    assert {words.surface_forms[g] for g in words.groups.tolist()} == set(words.surface_forms)
    assert words.are_words.all()


CHAT = "I don 't Don can 'm 's it 're you the them then Beyoncé Beyond café cafe receive received tomorrow don't"
CHAT_VOCABULARY = Vocabulary.from_counts({**dict.fromkeys(CHAT.split(), 10), "the": 90, UNK: 1, EOS: 1})
CHAT_INDEX = WordIndex(CHAT_VOCABULARY, blocked={"beyond"})
UNIFORM = np.full(len(CHAT_VOCABULARY), 1.0 / len(CHAT_VOCABULARY))


@pytest.mark.parametrize(
    ("prefix", "contained", "contraction"),
    [
        ("don", {"don't", "Don"}, None),
        ("dont", {"don't"}, "don't"),
        ("Dont", {"Don't"}, "don't"),
        ("DONT", {"DON'T"}, "don't"),
        ("im", {"I'm"}, "i'm"),
        ("i", {"I", "I'm", "it", "it's"}, None),
        ("its", {"it's"}, "it's"),
        ("youre", {"you're"}, "you're"),
    ],
)
def test_contractions_are_words_with_and_without_their_apostrophe(
    prefix: str, contained: set[str], contraction: str | None
) -> None:
    candidates = CHAT_INDEX.candidates(prefix)
    assert contained <= set(candidates.surface_forms)
    assert "don" not in candidates.surface_forms
    assert candidates.contraction == contraction


def test_a_word_and_its_contractions_share_its_probability() -> None:
    candidates = CHAT_INDEX.candidates("")
    summed = dict(zip(candidates.surface_forms, candidates.sums(UNIFORM[candidates.ids]), strict=True))
    assert summed["I"] + summed["I'm"] == pytest.approx(UNIFORM[0])
    blocked = 1  # "Beyond", which is not a candidate
    assert sum(summed.values()) == pytest.approx(1.0 - (2 + blocked) * UNIFORM[0])
    assert "Beyond" not in summed


@pytest.mark.parametrize(
    ("prefix", "found"),
    [("Beyonce", ["Beyonc\u00e9"]), ("beyon", []), ("cafe", ["caf\u00e9"]), ("caf\u00e9", ["cafe"]), ("", [])],
)
def test_accents_may_be_left_out(prefix: str, found: list[str]) -> None:
    assert list(CHAT_INDEX.unaccented(prefix).surface_forms) == found


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("recieve", ["receive", "received"]),
        ("Recieve", ["Receive", "Received"]),
        ("tomorow", ["tomorrow"]),
        ("tomorroww", ["tomorrow"]),
        ("tomxrr", ["tomorrow"]),
        ("teh", ["the", "them", "then"]),
        ("zzzzz", []),
    ],
)
def test_one_edit_finds_a_mistyped_beginning(prefix: str, found: list[str]) -> None:
    probs = np.array(CHAT_VOCABULARY.counts) / sum(CHAT_VOCABULARY.counts)
    assert list(CHAT_INDEX.corrections(prefix, False, probs).surface_forms) == found


def one_edit(text: str) -> set[str]:
    """By definition: every string one transposition, deletion, substitution or insertion away, but no appended one."""
    parts = [(text[:i], text[i:]) for i in range(len(text))]
    swapped = {head + tail[1] + tail[0] + tail[2:] for head, tail in parts if len(tail) > 1}
    changed = {head + c + tail[cut:] for head, tail in parts for c in "abc'" for cut in (0, 1)}
    return (swapped | changed | {head + tail[1:] for head, tail in parts}) - {text}


@given(st.sets(st.text("abc'", min_size=1, max_size=6), max_size=40), st.text("abc'", min_size=3, max_size=5))
def test_edited_ranges_are_the_words_that_begin_with_an_edit(words: set[str], prefix: str) -> None:
    keys = sorted(words)
    found = {keys[i] for begin, end in edited_ranges(keys, prefix) for i in range(begin, end)}
    starts = one_edit(prefix) - {prefix[:-1]}
    expected = {word for word in words if word.startswith(tuple(starts)) or word == prefix[:-1]}
    # the prefix itself may be found by a letter that is typed twice
    assert {word for word in found ^ expected if not word.startswith(prefix)} == set()
