"""Generated words as pieces of text, while they come."""

from collections.abc import Iterable, Iterator

from lstm_lm.text.typed import continuation
from lstm_lm.text.vocabulary import EOS


def text_pieces(prompt: str, words: Iterable[str]) -> Iterator[str]:
    """What to append to a text after each word; together the pieces are ``continuation(prompt, words)``.

    Args:
        prompt: The text that the words go on from, as typed.
        words: Words as the vocabulary spells them; taken one at a time.
    """
    line: list[str] = []
    shown = 0
    for word in words:
        line.append(word)
        # written text only grows at its end, so what was given before need not be looked at again
        text = continuation(prompt, line)
        yield text[shown:]
        shown = len(text)
        if word == EOS:
            # a finished line is final: begin anew, so that long texts are not written again for each word
            prompt, line, shown = "\n", [], 0
