"""User input as words of a vocabulary."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from lstm_lm.text.placeholders import replace_addresses
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, Vocabulary

_MOSES = Tokenizer("moses")
_MAX_MOSES_CHARS = 200  # some Moses rules take quadratic time in text without spaces
_MAX_CACHED_SIGNS = 4  # punctuation at the end of a word is short: ").", "?!"


def tokenize_input(text: str, vocabulary: Vocabulary) -> list[str]:
    """Split typed text into words, with as many of them in the vocabulary as possible.

    A chunk between spaces is one word if it is in the vocabulary, such as ``don't``, ``Mr.``, ``@-@`` or ``<unk>``.
    Otherwise Moses splits it as in WikiText. A word that is in the vocabulary only in another case is converted to that
    case. A line break becomes ``<eos>``, and an address or phone number its placeholder if the vocabulary has it.
    Out-of-vocabulary words stay as typed, so that the caller can show them.

    Args:
        text: As typed.
        vocabulary: Vocabulary of the model that reads the words.
    """
    words: list[str] = []
    if vocabulary.placeholder_ids:
        text = replace_addresses(text, vocabulary)
    for index, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")):
        if index:
            words.append(EOS)
        for chunk in line.split():
            words.extend(_chunk_words(chunk, vocabulary))
    return words


def split_partial_word(prefix: str, vocabulary: Vocabulary) -> tuple[list[str], str]:
    """Split a partial word where the corpus does: "well-kn" is ``well @-@`` and "kn", "(th" is ``(`` and "th".

    Args:
        prefix: As typed, not empty.
        vocabulary: Vocabulary of the model that reads the words.

    Returns:
        The complete words, and the typed start of the next word, which may be empty. If no word is complete: no words
        and all of ``prefix``.
    """
    if not any(map(str.isalnum, prefix)):
        return [], prefix
    # only the next character shows whether a punctuation mark is inside a word
    next_char = "0" if next((char for char in reversed(prefix) if char.isalnum()), "").isdigit() else "x"
    *complete, last = tokenize_input(prefix + next_char, vocabulary)
    partial = prefix[max(len(prefix) + 1 - len(last), 0) :]
    # Moses drops control characters: the typed end of the prefix may differ from the last word
    if not complete or (partial + next_char).casefold() != last.casefold():
        return [], prefix
    return complete, partial


def tokenize_chunk(chunk: str) -> list[str]:
    """Moses' words of a chunk without spaces, of any length."""
    starts = range(0, len(chunk), _MAX_MOSES_CHARS)
    return [word for start in starts for word in _MOSES.words(chunk[start : start + _MAX_MOSES_CHARS])]


def _chunk_words(chunk: str, vocabulary: Vocabulary) -> Iterator[str]:
    if chunk in vocabulary:
        yield chunk
        return
    # "(don't," is "(", "don't" and ",": without the punctuation around it, the chunk may be in the vocabulary
    alnum = [index for index, char in enumerate(chunk) if char.isalnum()]
    if alnum and (core := chunk[alnum[0] : alnum[-1] + 1]) in vocabulary:
        yield from _tokenize_signs(chunk[: alnum[0]])
        yield core
        yield from _tokenize_signs(chunk[alnum[-1] + 1 :])
        return
    for word in tokenize_chunk(chunk):
        yield _match_case(word, vocabulary)


def _tokenize_signs(signs: str) -> Sequence[str]:
    return _cached_signs(signs) if len(signs) <= _MAX_CACHED_SIGNS else tokenize_chunk(signs)


@lru_cache(maxsize=256)
def _cached_signs(signs: str) -> tuple[str, ...]:
    # the same few signs repeat in any text; uncached, Moses would take most of the time per keystroke
    return tuple(_MOSES.words(signs)) if signs else ()


def _match_case(word: str, vocabulary: Vocabulary) -> str:
    """``word`` in the case that the vocabulary has; unchanged if the vocabulary does not have the word."""
    for form in (word, word.lower(), word.capitalize(), word.upper()):
        if form in vocabulary:
            return form
    return word
