"""Streaming detokenization and stop strings: generated words as pieces of text."""

from collections.abc import Iterable, Iterator, Sequence

from lstm_lm.text.detokenize import detokenize, last_line_words, minimal_context
from lstm_lm.text.vocabulary import EOS


class StreamingDetokenizer:
    """Turns generated words into text, one word at a time.

    Args:
        prompt: The text that the words continue, as typed.
    """

    def __init__(self, prompt: str) -> None:
        # only the words of the line that the spelling of the next ones depends on
        self._context = minimal_context(last_line_words(prompt))
        self._after_space = prompt[-1:].isspace()

    def add(self, word: str) -> str:
        """The text to append for the next word.

        Together the pieces are ``detokenize_continuation(prompt, words)``.

        Args:
            word: In the vocabulary's spelling.
        """
        if word == EOS:
            self._context, self._after_space = [], True
            return "\n"
        # detokenized text only grows at its end
        piece = detokenize([*self._context, word])[len(detokenize(self._context)) :]
        self._context = minimal_context([*self._context, word])
        if self._after_space:
            piece = piece.lstrip(" ")
            self._after_space = not piece
        return piece


def text_pieces(prompt: str, words: Iterable[str]) -> Iterator[str]:
    """The text to append to ``prompt`` for each of ``words``. Consumes one word at a time."""
    detokenizer = StreamingDetokenizer(prompt)
    for word in words:
        yield detokenizer.add(word)


class StopStrings:
    """Cuts streamed text before the first stop string that it completes.

    Args:
        strings: Stop strings, none of them empty.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._buffer = ""
        self.matched = False
        """Whether a stop string was found."""

    def feed(self, piece: str) -> str:
        """Add a piece and return the text that can be shown.

        An end that may be the beginning of a stop string is held back.
        """
        text = self._buffer + piece
        matches = [(start + len(string), start) for string in self._strings if (start := text.find(string)) >= 0]
        if matches:
            self.matched = True
            self._buffer = ""
            return text[: min(matches)[1]]
        held = max((_overlap(text, string) for string in self._strings), default=0)
        shown, self._buffer = text[: len(text) - held], text[len(text) - held :]
        return shown

    def flush(self) -> str:
        """The text still held back at the end of the stream."""
        return self._buffer


def _overlap(text: str, string: str) -> int:
    """Length of the longest suffix of ``text`` that is a proper prefix of ``string``."""
    longest = min(len(text), len(string) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(string[:length])), 0)
