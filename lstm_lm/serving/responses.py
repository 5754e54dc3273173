"""A continuation on its way to the client: as pieces of text, up to a stop string, and as a whole."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from lstm_lm.inference.detokenize import StopStrings, StreamingDetokenizer
from lstm_lm.inference.sequences import ActiveSequence
from lstm_lm.serving.generation import ContinuousBatcher, WordStream
from lstm_lm.serving.schemas import ErrorResponse, GeneratedText, TextDelta


class GenerationOutput:
    """What becomes of one generation.

    Args:
        prompt: The text as it was sent.
        unknown_words: Of the prompt.
        seed: Of the draw.
        stop: Strings before the first of which the text ends.
    """

    def __init__(self, prompt: str, unknown_words: Sequence[str], seed: int | None, stop: Sequence[str]) -> None:
        self._prompt = prompt
        self._unknown_words = list(unknown_words)
        self._seed = seed
        self._writer = StreamingDetokenizer(prompt)
        self._stop = StopStrings(stop)
        self._shown: list[str] = []
        self._words: list[str] = []
        self._ends: list[int] = []

    async def pieces(self, words: WordStream) -> AsyncIterator[list[str]]:
        """The text as it grows: the pieces that are there, none of them empty.

        Args:
            words: As they come; no more are taken once a stop string is met.

        Raises:
            Exception: Which came in place of a word.
        """
        async for ready in words:
            if pieces := [piece for word in ready if (piece := self._add(word))]:
                yield pieces
            if self._stop.found:
                return
        if rest := self._stop.rest():
            self._shown.append(rest)
            yield [rest]

    def _add(self, word: str) -> str:
        """What can be shown once ``word`` is there, nothing after a stop string."""
        if self._stop.found:
            return ""
        piece = self._writer.add(word)
        self._words.append(word)
        self._ends.append(len(piece) + (self._ends[-1] if self._ends else 0))
        shown = self._stop.feed(piece)
        self._shown.append(shown)
        return shown

    def answer(self) -> GeneratedText:
        """The whole of it, once there are no more pieces."""
        text = "".join(self._shown)
        collect = [word for word, end in zip(self._words, self._ends, strict=True) if end <= len(text)]
        return GeneratedText(
            text=self._prompt + text, words=collect, unknown_words=self._unknown_words, seed=self._seed
        )


async def collect(generations: ContinuousBatcher, text: ActiveSequence, continued: GenerationOutput) -> GeneratedText:
    """The answer, when it is complete."""
    with generations.stream(text) as words:
        async for _ in continued.pieces(words):
            pass
    return continued.answer()


class EventStream(EventSourceResponse):
    """The answer as server-sent events: a ``TextDelta`` each, at the end ``done`` with the collect, or ``error``."""

    def __init__(self, generations: ContinuousBatcher, text: ActiveSequence, continued: GenerationOutput) -> None:
        self._events = _events(generations, text, continued)
        # a proxy that collects the answer would take the point from it
        super().__init__(self._events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; whatever ends the sending ends the generation with it."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def _events(
    generations: ContinuousBatcher, text: ActiveSequence, continued: GenerationOutput
) -> AsyncGenerator[bytes, None]:
    with generations.stream(text) as words:
        try:
            async for pieces in continued.pieces(words):
                yield b"".join(format_sse_event(data_str=TextDelta(piece=piece).model_dump_json()) for piece in pieces)
        except Exception:
            # too late for a status; what went wrong inside is no business of the client's
            failure = ErrorResponse(detail="the model failed to go on; try again", problems=None)
            yield format_sse_event(data_str=failure.model_dump_json(exclude_none=True), event="error")
            raise
    yield format_sse_event(data_str=continued.answer().model_dump_json(), event="done")
