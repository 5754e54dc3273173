"""Streamed generation as server-sent events."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from lstm_lm.inference.sequences import ActiveSequence
from lstm_lm.serving.generation import ContinuousBatcher
from lstm_lm.serving.generation_output import GenerationOutput
from lstm_lm.serving.schemas import ErrorResponse, TextDelta


class EventStream(EventSourceResponse):
    """One :class:`TextDelta` per event, then ``done`` with the complete response, or ``error``."""

    def __init__(self, batcher: ContinuousBatcher, sequence: ActiveSequence, output: GenerationOutput) -> None:
        self._events = _events(batcher, sequence, output)
        # a proxy must not cache or buffer the events
        super().__init__(self._events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; the generation is cancelled when the response ends for any reason."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def _events(
    batcher: ContinuousBatcher, sequence: ActiveSequence, output: GenerationOutput
) -> AsyncGenerator[bytes, None]:
    with batcher.stream(sequence) as words:
        try:
            async for deltas in output.deltas(words):
                yield b"".join(format_sse_event(data_str=TextDelta(piece=delta).model_dump_json()) for delta in deltas)
        except Exception:
            # the status has been sent already; internals are not shown to the client
            error = ErrorResponse(detail="generation failed; try again", problems=None)
            yield format_sse_event(data_str=error.model_dump_json(exclude_none=True), event="error")
            raise
    yield format_sse_event(data_str=output.response().model_dump_json(), event="done")
