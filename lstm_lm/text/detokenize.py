"""Words as text: spaces, quotes, contractions and line breaks."""

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from lstm_lm.text.input_text import tokenize_chunk
from lstm_lm.text.vocabulary import EOS

if TYPE_CHECKING:
    from lstm_lm.text.moses import MosesDetokenizer

INFIXES = {"@-@": "-", "@,@": ",", "@.@": "."}
"""WikiText's token for each punctuation mark inside a word or number, and the mark."""
# Moses does not change letters, so each infix is replaced by a letter of the private use area
_PLACEHOLDERS = {"@-@": "\ue000", "@,@": "\ue001", "@.@": "\ue002"}
_SIGNS = {placeholder: INFIXES[infix] for infix, placeholder in _PLACEHOLDERS.items()}
_SPACED_PLACEHOLDER = re.compile(" ?([\ue000-\ue002]) ?")
_CURLY_QUOTE = re.compile("[„“”]+")  # Moses pairs them with straight ones


def detokenize(words: Sequence[str]) -> str:
    """Join words into text: ``don 't`` is "don't", ``1 @,@ 000`` is "1,000", ``<eos>`` is a line break."""
    return "\n".join(_line_text(line) for line in _lines(words))


def detokenize_continuation(prompt: str, words: Sequence[str]) -> str:
    """The text to append to ``prompt`` so that it continues with ``words``; the prompt stays as typed.

    The text starts with a space where one belongs: not before punctuation, not after an opening bracket or quote, and
    not if the prompt ends with white space.
    """
    if not words:
        return ""
    first, *rest = _lines(words)
    prompt_words = last_line_words(prompt)
    # Moses works from left to right: more words never change the text before them
    appended = _line_text([*prompt_words, *first])[len(_line_text(prompt_words)) :]
    if not prompt_words or prompt[-1].isspace():
        appended = appended.lstrip(" ")
    return "\n".join([appended, *(_line_text(line) for line in rest)])


def last_line_words(prompt: str) -> list[str]:
    """Words of the last line of ``prompt``, which a continuation extends; their case stays as typed."""
    return [word for chunk in prompt.rpartition("\n")[2].split() for word in tokenize_chunk(chunk)]


def minimal_context(line: Sequence[str]) -> list[str]:
    """The few words of a line that the spacing of the next words depends on.

    These are the last word and every open quote. If the last word is a quote, its own context is kept too: the opening
    quote of a closing one, and the word before a genitive apostrophe ("the Jones '").
    """
    open_quotes: dict[str, int] = {}
    kept = {len(line) - 1} if line else set()
    for position, word in enumerate(line):
        if not _detokenizer().IS_OPEN_QUOTE.search(word):
            continue
        kind = '"' if _CURLY_QUOTE.fullmatch(word) else word
        needed = open_quotes.pop(kind, None)
        if needed is None and word == "'" and position and line[position - 1].endswith("s"):
            needed = position - 1
        if needed is None:
            open_quotes[kind] = position
        elif position in kept:
            kept.add(needed)
    return [line[position] for position in sorted(kept.union(open_quotes.values()))]


def _lines(words: Sequence[str]) -> list[list[str]]:
    lines: list[list[str]] = [[]]
    for word in words:
        if word == EOS:
            lines.append([])
        else:
            lines[-1].append(word)
    return lines


def _line_text(words: Sequence[str]) -> str:
    text: str = _detokenizer().detokenize([_PLACEHOLDERS.get(word, word) for word in words], unescape=False)
    return _SPACED_PLACEHOLDER.sub(lambda match: _SIGNS[match[1]], text)


@cache
def _detokenizer() -> "MosesDetokenizer":
    from lstm_lm.text.moses import MosesDetokenizer

    return MosesDetokenizer("en")
