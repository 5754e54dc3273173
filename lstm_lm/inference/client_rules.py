"""The rules of tokenization and suggestion as data, for clients in other languages: ``rules.json`` of a bundle.

What the Python code reads from tables, a client reads from this file; docs/bundle.md describes the fields.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict
from typing import Any

from sacremoses import MosesDetokenizer, MosesTokenizer
from sacremoses.util import CJKChars

from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.ranking import BAR_SIZE
from lstm_lm.inference.user_words import HALF, MAX_SHARE
from lstm_lm.text import casing, edits, input_text, insertion, normalize, placeholders, tokenizer
from lstm_lm.text.completion import normalized
from lstm_lm.text.contractions import ENDINGS, NAME_STEMS, STEMS, contractions
from lstm_lm.text.detokenize import INFIXES
from lstm_lm.text.vocabulary import Vocabulary

FORMAT = 1


def client_rules(
    vocabulary: Vocabulary, blocked: Collection[str] = (), cache: CacheConfig | None = None
) -> dict[str, Any]:
    """The content of ``rules.json``.

    Args:
        vocabulary: Vocabulary of the model.
        blocked: Words that are never suggested.
        cache: The model's neural cache; ``None`` is ``CacheConfig()``.
    """
    moses = MosesTokenizer("en")
    return {
        "format": FORMAT,
        "vocabulary_sha256": vocabulary.fingerprint,
        "tokenizer": {
            "version": tokenizer.VERSION,
            "alnum": character_class(MosesTokenizer.IsAlnum),
            "alpha": character_class(MosesTokenizer.IsAlpha),
            "number": character_class(MosesTokenizer.IsN),
            "lower": character_class(MosesTokenizer.IsLower),
            "currency": character_class(MosesDetokenizer.IsSc),
            "nonbreaking_prefixes": moses.NONBREAKING_PREFIXES,
            "numeric_prefixes": moses.NUMERIC_ONLY_PREFIXES,
            "special_letters": tokenizer.LETTERS,
        },
        "cjk": CJKChars().ranges,
        "infixes": INFIXES,
        "normalize": {"apostrophes": normalize.APOSTROPHES, "ignorable": normalize.IGNORABLE},
        "addresses": {
            "placeholders": placeholders.PLACEHOLDERS,
            "signs": placeholders.SIGNS.pattern,
            "pattern": placeholders.PATTERN.pattern,
        },
        "input": {
            "opening": sorted(input_text.OPENING),
            "inner": sorted(input_text.INNER),
            "symbols": sorted(input_text.SYMBOLS),
            "continues": input_text.CONTINUES,
        },
        "casing": {"skipped": sorted(casing.QUOTES_AND_BRACKETS)},
        "insertion": {
            "closing": sorted(insertion.CLOSING),
            "opening": sorted(insertion.OPENING),
            "dashes": sorted(insertion.DASHES),
        },
        "contractions": [(each.text, each.first_id, each.share) for each in contractions(vocabulary)],
        "joins": {
            "endings": sorted(ENDINGS),
            "stems": {ending: sorted(stems) for ending, stems in STEMS.items()},
            "name_stems": sorted(NAME_STEMS),
        },
        "corrections": {
            "min_length": edits.LENGTHS.start,
            "max_length": edits.LENGTHS.stop - 1,
            "max_candidates": edits.MAX_CORRECTIONS,
        },
        "ranking": {"bar_size": BAR_SIZE, "correction_weight": edits.CORRECTION_WEIGHT},
        "user_words": {"max_share": MAX_SHARE, "half": HALF},
        "cache": asdict(CacheConfig() if cache is None else cache),
        "blocked": sorted(set(map(normalized, blocked))),
    }


def character_class(chars: Iterable[str]) -> str:
    r"""Characters as the inside of a regular expression's class, in ranges such as ``\u{61}-\u{7a}``."""
    ranges: list[list[int]] = []
    for code in sorted(set(map(ord, chars))):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(
        f"\\u{{{first:x}}}" if first == last else f"\\u{{{first:x}}}-\\u{{{last:x}}}" for first, last in ranges
    )
