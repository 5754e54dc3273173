"""English contractions. Moses, and so a corpus, splits them into two tokens: ``don 't``, ``I 'm``.

A keyboard suggests them as one word. The table is closed: a join that is not in it, such as "don're", is never
suggested. A vocabulary counts tokens, not pairs, so the share of a first token that continues as a contraction is
estimated from the counts of both tokens.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lstm_lm.text.vocabulary import Vocabulary

POSSESSIVE = "'s"

# tokens that are no words: only a contraction continues them
_FRAGMENTS = (
    "ain aren couldn daren didn doesn don hadn hasn isn mightn mustn needn oughtn shan shouldn wasn weren wouldn"
)
_PRONOUNS = "I he it she they we who you"
_ADVERBS = "here how that there what when where why"
_ENDINGS = {
    "'t": f"{_FRAGMENTS} can haven won",
    "'m": "I",
    "'re": "they we you what who",
    "'ve": "I could might should they we who would you",
    "'ll": f"{_PRONOUNS} that there",
    "'d": f"{_PRONOUNS} there",
    "'s": f"he it let one she {_ADVERBS} everybody everyone everything nobody nothing somebody someone something",
    "'all": "y",
    "'am": "ma",
    "'clock": "o",
}
ENDINGS = frozenset((*_ENDINGS, "n't"))
"""Second tokens of contractions and genitives: they join the word before them."""
STEMS = {ending: frozenset(stems.split()) for ending, stems in _ENDINGS.items()}
NAME_STEMS = frozenset(("D", "L", "O"))  # "O'Brien" is O 'Brien
_MIN_SHARE, _MAX_SHARE = 0.01, 0.9  # of a first token that is also a word


@dataclass(frozen=True)
class Contraction:
    """A contraction whose two tokens are in a vocabulary."""

    text: str
    """As written, such as "don't"."""
    first_id: int
    """Id of the first token."""
    second_id: int
    """Id of the second token."""
    share: float
    """Estimated share of the first token's occurrences that continue as this contraction, in [0, 1]."""


def contractions(vocabulary: Vocabulary) -> list[Contraction]:
    """The contractions of the table that ``vocabulary`` has both tokens of, in every case that it has."""
    found = []
    fragments = {form for stem in _FRAGMENTS.split() for form in _cases(stem)} - {"Don"}  # a name, too
    for ending, stems in STEMS.items():
        if ending not in vocabulary:
            continue
        ending_id = vocabulary.id(ending)
        forms = [form for stem in sorted(stems) for form in _cases(stem) if form in vocabulary]
        words = [form for form in forms if form not in fragments]
        count = vocabulary.counts[ending_id] - _count(set(forms) - set(words), vocabulary)
        if ending == POSSESSIVE:
            # most are genitives; "I'm" shows how often this corpus contracts
            if "'m" not in vocabulary or "I" not in vocabulary:
                continue
            contracted = _count(["'m"], vocabulary) / max(_count(["I"], vocabulary), 1)
            count = min(count, int(contracted * _count(words, vocabulary)))
        share = min(max(count / max(_count(words, vocabulary), 1), _MIN_SHARE), _MAX_SHARE)
        for form in forms:
            own = share if form in words else 1.0
            found.append(Contraction(form + ending, vocabulary.id(form), ending_id, own))
    totals = defaultdict[int, float](float)
    for contraction in found:
        totals[contraction.first_id] += contraction.share
    # "I" has several endings, whose estimates may add up to more than all of its occurrences
    return [
        each if each.share == 1.0 else replace(each, share=each.share / max(1.0, totals[each.first_id] / _MAX_SHARE))
        for each in found
    ]


def joins(first: str, second: str) -> bool:
    """Whether English writes the tokens ``first`` and ``second``, which starts with an apostrophe, as one word.

    True for the contractions of the table, for every genitive, and for names such as "O'Brien".
    """
    if second == POSSESSIVE:
        return first[-1:].isalnum()
    stem = first if first == "I" else first.lower()
    return stem in STEMS.get(second, ()) or (first in NAME_STEMS and second[1:2].isupper())


def _cases(stem: str) -> tuple[str, ...]:
    return (stem,) if stem == "I" else (stem, stem.capitalize())


def _count(words: Iterable[str], vocabulary: Vocabulary) -> int:
    return sum(vocabulary.counts[vocabulary.id(word)] for word in words)
