"""Generated words as text: deltas while they arrive, up to a stop string, and the complete response."""

from collections.abc import AsyncIterator, Sequence

from lstm_lm.inference.detokenize import StopStrings, StreamingDetokenizer
from lstm_lm.inference.sequences import ActiveSequence
from lstm_lm.serving.generation import ContinuousBatcher, WordStream
from lstm_lm.serving.schemas import GeneratedText


class GenerationOutput:
    """Collects the output of one generation.

    Args:
        prompt: The text as the client sent it.
        characters_read: How many characters of it the sequence was started with, from its end.
        sequence: The sequence that continues it.
        seed: Seed of the sampling; ``None`` without one.
        stop: The text ends before the first of these strings.
    """

    def __init__(
        self, prompt: str, characters_read: int, sequence: ActiveSequence, seed: int | None, stop: Sequence[str]
    ) -> None:
        self._prompt = prompt
        self._characters_read = characters_read
        self._sequence = sequence
        self._seed = seed
        self._detokenizer = StreamingDetokenizer(prompt)
        self._stop = StopStrings(stop)
        self._deltas: list[str] = []
        self._words: list[str] = []
        self._word_ends: list[int] = []

    async def deltas(self, words: WordStream) -> AsyncIterator[list[str]]:
        """The text as it grows: all non-empty deltas that are ready.

        Args:
            words: Read until it ends or a stop string is complete.

        Raises:
            Exception: The one that ended ``words``.
        """
        async for ready in words:
            if deltas := [delta for word in ready if (delta := self._append(word))]:
                yield deltas
            if self._stop.matched:
                return
        if rest := self._stop.flush():
            self._deltas.append(rest)
            yield [rest]

    def _append(self, word: str) -> str:
        """The text that ``word`` releases; empty after a stop string."""
        if self._stop.matched:
            return ""
        text = self._detokenizer.add(word)
        self._words.append(word)
        self._word_ends.append(len(text) + (self._word_ends[-1] if self._word_ends else 0))
        delta = self._stop.feed(text)
        self._deltas.append(delta)
        return delta

    def response(self) -> GeneratedText:
        """The complete response; call it after the last delta."""
        continuation = "".join(self._deltas)
        words = [word for word, end in zip(self._words, self._word_ends, strict=True) if end <= len(continuation)]
        return GeneratedText(
            text=self._prompt + continuation,
            words=words,
            unknown_words=list(self._sequence.unknown_words),
            finish_reason="stop" if self._stop.matched else self._sequence.finish_reason,
            characters_read=self._characters_read,
            seed=self._seed,
        )


async def collect(batcher: ContinuousBatcher, sequence: ActiveSequence, output: GenerationOutput) -> GeneratedText:
    """Run a generation and return its complete response."""
    with batcher.stream(sequence) as words:
        async for _ in output.deltas(words):
            pass
    return output.response()
