"""Text that a person types, met with the vocabulary, and words written as text again."""

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

from sacremoses import MosesDetokenizer

from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, Vocabulary

_MOSES = Tokenizer("moses")
# @-@, @,@ and @.@ are a sign that stood inside a word or number; Moses sees a letter for each, which it leaves alone
_LETTERS = {"@-@": "\ue000", "@,@": "\ue001", "@.@": "\ue002"}
SIGNS = {word: word[1] for word in _LETTERS}
"""How the words are written that stand for a sign inside a word or number."""
_SIGN_OF = {letter: SIGNS[word] for word, letter in _LETTERS.items()}
_FEW = 4  # signs at the end of a word: ").", "?!"
_LONGEST = 200  # letters without a space that Moses gets at once: some of its rules take quadratic time
_QUOTE = MosesDetokenizer.IS_OPEN_QUOTE
_CURLY = re.compile("[„“”]+")  # Moses counts them as straight ones
_INSIDE = re.compile(" ?([\ue000-\ue002]) ?")


def tokenize_input(text: str, vocabulary: Vocabulary) -> list[str]:
    """Cut typed text into words so that as many as possible are in the vocabulary.

    What stands between spaces stays whole where the vocabulary has it (so a corpus' own ``don't``, ``Mr.``, ``@-@`` or
    ``<unk>`` is met), else it is cut as WikiText cuts it. A word known in another case only is taken in that case.
    A line break is ``<eos>``. Words that nothing matches are kept as typed, for the caller to show.

    Args:
        text: As typed.
        vocabulary: Of the model that will read it.
    """
    words: list[str] = []
    for index, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")):
        if index:
            words.append(EOS)
        for chunk in line.split():
            words.extend(_chunk_words(chunk, vocabulary))
    return words


def split_partial_word(prefix: str, vocabulary: Vocabulary) -> tuple[list[str], str]:
    """Cut what is half typed where a corpus cuts it: "well-kn" is ``well @-@`` and "kn", "(th" is ``(`` and "th".

    Args:
        prefix: As typed, not empty.
        vocabulary: Of the model that will read it.

    Returns:
        The words that are finished, and the beginning of the next one as it ends ``prefix``; it may be empty. Where
        nothing is finished there are no words and all of ``prefix``.
    """
    if not any(map(str.isalnum, prefix)):
        return [], prefix
    # only what follows tells whether a sign stands inside a word
    following = "0" if next((char for char in reversed(prefix) if char.isalnum()), "").isdigit() else "x"
    *finished, last = tokenize_input(prefix + following, vocabulary)
    begun = prefix[max(len(prefix) + 1 - len(last), 0) :]
    # Moses drops control characters, so that more than the beginning may be left with no word finished
    whole = not finished or (begun + following).casefold() != last.casefold()
    return ([], prefix) if whole else (finished, begun)


def _chunk_words(chunk: str, vocabulary: Vocabulary) -> Iterator[str]:
    if chunk in vocabulary:
        yield chunk
        return
    # "(don't," is "(", "don't" and ",": what remains without punctuation at its ends may be a word of the vocabulary
    letters = [index for index, char in enumerate(chunk) if char.isalnum()]
    if letters and (core := chunk[letters[0] : letters[-1] + 1]) in vocabulary:
        yield from _sign_words(chunk[: letters[0]])
        yield core
        yield from _sign_words(chunk[letters[-1] + 1 :])
        return
    for word in _cut(chunk):
        yield _known_case(word, vocabulary)


def _cut(chunk: str) -> list[str]:
    """The words of what stands between spaces, however long."""
    starts = range(0, len(chunk), _LONGEST)
    return [word for start in starts for word in _MOSES.words(chunk[start : start + _LONGEST])]


def _sign_words(signs: str) -> Sequence[str]:
    return _few_signs(signs) if len(signs) <= _FEW else _cut(signs)


@lru_cache(maxsize=256)
def _few_signs(signs: str) -> tuple[str, ...]:
    # cached because a text has the same ones all over, and Moses would take most of the time of a keystroke
    return tuple(_MOSES.words(signs)) if signs else ()


def _known_case(word: str, vocabulary: Vocabulary) -> str:
    """``word`` in the case that the vocabulary has; its own where it has none."""
    for form in (word, word.lower(), word.capitalize(), word.upper()):
        if form in vocabulary:
            return form
    return word


def detokenize(words: Sequence[str]) -> str:
    """Write words as a person would: ``don 't`` is "don't", ``1 @,@ 000`` is "1,000", ``<eos>`` is a line break."""
    return "\n".join(_line_text(line) for line in _lines(words))


def detokenize_continuation(prompt: str, words: Sequence[str]) -> str:
    """What to append to ``prompt``, which stays exactly as typed, so that it goes on with ``words``.

    Begins with a space where one belongs: not before punctuation, after an opening bracket or quote, or where the
    prompt ends with white space itself.
    """
    if not words:
        return ""
    first, *rest = _lines(words)
    before = last_line_words(prompt)
    base = _line_text(before)
    # Moses writes from left to right: more words never change what stands already
    appended = _line_text([*before, *first])[len(base) :]
    if not before or prompt[-1].isspace():
        appended = appended.lstrip(" ")
    return "\n".join([appended, *(_line_text(line) for line in rest)])


def last_line_words(prompt: str) -> list[str]:
    """Words of the line of ``prompt`` that a continuation goes on from, as they are written."""
    return [word for chunk in prompt.rpartition("\n")[2].split() for word in _cut(chunk)]


def minimal_context(line: Sequence[str]) -> list[str]:
    """The few words of a line that what follows is written by: in front of it stands the same text, but shorter.

    What is written behind a line depends on its last word and on the quotes that are open. A last word that is a quote
    needs another to be what it is: a closing one its opening one, a genitive's ("the Jones '") the word before it.
    """
    opened: dict[str, int] = {}
    kept = {len(line) - 1} if line else set()
    for position, word in enumerate(line):
        if not _QUOTE.search(word):
            continue
        kind = '"' if _CURLY.fullmatch(word) else word
        needed = opened.pop(kind, None)
        if needed is None and word == "'" and position and line[position - 1].endswith("s"):
            needed = position - 1
        if needed is None:
            opened[kind] = position
        elif position in kept:
            kept.add(needed)
    return [line[position] for position in sorted(kept.union(opened.values()))]


def _lines(words: Sequence[str]) -> list[list[str]]:
    lines: list[list[str]] = [[]]
    for word in words:
        if word == EOS:
            lines.append([])
        else:
            lines[-1].append(word)
    return lines


def _line_text(words: Sequence[str]) -> str:
    text: str = _detokenizer().detokenize([_LETTERS.get(word, word) for word in words], unescape=False)
    return _INSIDE.sub(lambda match: _SIGN_OF[match[1]], text)


@cache
def _detokenizer() -> MosesDetokenizer:
    return MosesDetokenizer("en")
