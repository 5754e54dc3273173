"""Generated words as pieces of text, while they come."""

from collections.abc import Iterable, Iterator, Sequence

from lstm_lm.text.input_text import detokenize, last_line_words, minimal_context
from lstm_lm.text.vocabulary import EOS


class StreamingDetokenizer:
    """Writes words behind a text as they come.

    Args:
        prompt: The text that the words go on from, as typed.
    """

    def __init__(self, prompt: str) -> None:
        # the words of the line so far, as many as the next ones depend on
        self._before = minimal_context(last_line_words(prompt))
        self._spaced = prompt[-1:].isspace()

    def add(self, word: str) -> str:
        """What to append after the next word, as the vocabulary spells it.

        Together the pieces are ``detokenize_continuation(prompt, words)``.
        """
        if word == EOS:
            self._before, self._spaced = [], True
            return "\n"
        # written text only grows at its end
        piece = detokenize([*self._before, word])[len(detokenize(self._before)) :]
        self._before = minimal_context([*self._before, word])
        if self._spaced:
            piece = piece.lstrip(" ")
            self._spaced = not piece
        return piece


def text_pieces(prompt: str, words: Iterable[str]) -> Iterator[str]:
    """What to append to ``prompt`` after each of ``words``, which are taken one at a time."""
    writer = StreamingDetokenizer(prompt)
    for word in words:
        yield writer.add(word)


class StopStrings:
    """Cuts a text that comes in pieces before whichever of some strings is the first to be complete in it.

    Args:
        strings: None of them empty.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """What of the text so far can be shown that was not shown before.

        An end that one of the strings may begin with is held back until more is known.
        """
        text = self._held + piece
        found = [(position + len(string), position) for string in self._strings if (position := text.find(string)) >= 0]
        if found:
            self.found = True
            self._held = ""
            return text[: min(found)[1]]
        held = max((_overlap(text, string) for string in self._strings), default=0)
        shown, self._held = text[: len(text) - held], text[len(text) - held :]
        return shown

    def rest(self) -> str:
        """What is still held back when no more text comes."""
        return self._held


def _overlap(text: str, string: str) -> int:
    """Length of the longest end of ``text`` that ``string`` begins with, short of the whole string."""
    longest = min(len(text), len(string) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(string[:length])), 0)
