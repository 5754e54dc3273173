"""User input as words of a vocabulary."""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from lstm_lm.text.normalize import clean, normalize
from lstm_lm.text.placeholders import replace_addresses
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, Vocabulary

_MOSES = Tokenizer("moses")
_MAX_MOSES_CHARS = 200  # some Moses rules take quadratic time in text without spaces
OPENING = frozenset("\"'([{“„«¿¡—–$£€")
INNER = frozenset(("@-@", "/", "—", "–"))  # signs between two words without spaces
SYMBOLS = frozenset("@:#_")  # addresses and times are no words
CONTINUES = "'\u2018\u2019\u201b\u02bc\uff07-"  # signs at the end of a half-typed word
_MAX_CACHED_SIGNS = 4  # punctuation at the end of a word is short: ").", "?!"


def tokenize_input(text: str, vocabulary: Vocabulary) -> list[str]:
    """Split typed text into words, with as many of them in the vocabulary as possible.

    A chunk between spaces is one word if it is in the vocabulary, such as ``don't``, ``Mr.``, ``@-@`` or ``<unk>``.
    Otherwise Moses splits it as in WikiText. A word that is in the vocabulary only in another case is converted to that
    case. A line break becomes ``<eos>``; a typed "<eos>" is plain text. An address or phone number becomes its
    placeholder if the vocabulary has it. Out-of-vocabulary words stay as typed, so that the caller can show them.

    Args:
        text: As typed; it is normalized first.
        vocabulary: Vocabulary of the model that reads the words.
    """
    words: list[str] = []
    text = normalize(text)
    if vocabulary.placeholder_ids:
        text = replace_addresses(text, vocabulary)
    for index, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")):
        if index:
            words.append(EOS)
        for chunk in line.split():
            words.extend(_chunk_words(chunk, vocabulary))
    return words


def split_text(text: str) -> tuple[str, str]:
    """Split a text before the half-typed word at its end: "I wan" is "I " and "wan".

    The second part is empty if the text ends in white space or in a sign that no word continues, such as "done." or an
    emoji.
    """
    start = next((position for position in range(len(text), 0, -1) if text[position - 1].isspace()), 0)
    last = clean(text[start:]).rstrip(CONTINUES)[-1:]
    half_typed = last.isalnum() or unicodedata.category(last or " ") in ("Mn", "Mc")
    return (text[:start], text[start:]) if half_typed else (text, "")


def split_partial_word(prefix: str, vocabulary: Vocabulary) -> tuple[list[str], str]:
    """Split a partial word where the corpus does: "well-kn" is ``well @-@`` and "kn", "(th" is ``(`` and "th".

    Args:
        prefix: As ``normalize`` returns it, not empty.
        vocabulary: Vocabulary of the model that reads the words.

    Returns:
        The complete words, and the typed start of the next word, which may be empty. If no word is complete, or if no
        word of a text follows there, as inside "joe@", "https://" or "10:": no words and all of ``prefix``.
    """
    before, _, chunk = prefix.rpartition(" ")
    if chunk.startswith("'"):  # Moses would leave the quote at its word
        complete, partial = split_partial_word(chunk[1:], vocabulary) if len(chunk) > 1 else ([], "")
        return [*tokenize_input(before, vocabulary), "'", *complete], partial
    if not any(map(str.isalnum, prefix)):
        return [], prefix
    # only the next character shows whether a punctuation mark is inside a word
    next_char = "0" if next((char for char in reversed(chunk) if char.isalnum()), "").isdigit() else "x"
    *complete, last = tokenize_input(chunk + next_char, vocabulary)
    partial = chunk[max(len(chunk) + 1 - len(last), 0) :]
    # Moses drops control characters: the typed end of the prefix may differ from the last word
    if (partial + next_char).casefold() != last.casefold() or not _continues(complete, partial):
        return [], prefix
    complete = [*tokenize_input(before, vocabulary), *complete]
    return (complete, partial) if complete else ([], prefix)


def _continues(complete: Sequence[str], partial: str) -> bool:
    """Whether a word may start with ``partial`` directly after the words ``complete``, without a space."""
    if all(not any(map(str.isalnum, word)) and word[:1] in OPENING for word in complete):
        return True
    if complete[-1] in ("@,@", "@.@"):
        return partial.isdigit()
    if partial.startswith("'"):
        return complete[-1][-1:].isalnum()
    return complete[-1] in INNER and complete[-2:-1] != [complete[-1]] and not SYMBOLS.intersection(complete)


def tokenize_chunk(chunk: str) -> list[str]:
    """Moses' words of a chunk without spaces, of any length."""
    starts = range(0, len(chunk), _MAX_MOSES_CHARS)
    return [word for start in starts for word in _MOSES.words(chunk[start : start + _MAX_MOSES_CHARS])]


def _chunk_words(chunk: str, vocabulary: Vocabulary) -> Iterator[str]:
    if (known := vocabulary.find(chunk)) is not None and chunk != EOS:
        yield known
        return
    # "(don't," is "(", "don't" and ",": without the punctuation around it, the chunk may be in the vocabulary
    alnum = [index for index, char in enumerate(chunk) if char.isalnum()]
    if alnum and (known := _find_ignoring_case(chunk[alnum[0] : alnum[-1] + 1], vocabulary)) is not None:
        yield from _tokenize_signs(chunk[: alnum[0]])
        yield known
        yield from _tokenize_signs(chunk[alnum[-1] + 1 :])
        return
    for word in tokenize_chunk(chunk):
        yield _find_ignoring_case(word, vocabulary) or word


def _tokenize_signs(signs: str) -> Sequence[str]:
    return _cached_signs(signs) if len(signs) <= _MAX_CACHED_SIGNS else tokenize_chunk(signs)


@lru_cache(maxsize=256)
def _cached_signs(signs: str) -> tuple[str, ...]:
    # the same few signs repeat in any text; uncached, Moses would take most of the time per keystroke
    return tuple(_MOSES.words(signs)) if signs else ()


def _find_ignoring_case(word: str, vocabulary: Vocabulary) -> str | None:
    """The vocabulary's spelling of ``word``, in another case if it has only that; ``None`` if it is unknown."""
    for form in (word, word.lower(), word.capitalize(), word.upper()):
        if (known := vocabulary.find(form)) is not None:
            return known
    return None
