"""The routes of the service."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import CapacityLimiter, move_on_after, to_thread
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import Field

from lstm_lm.inference.engine import Engine
from lstm_lm.inference.prefix_cache import PrefixCache
from lstm_lm.inference.sampling import with_seed
from lstm_lm.inference.sequences import ActiveSequence
from lstm_lm.serving.draining import Drain
from lstm_lm.serving.generation import ContinuousBatcher, cancel_on_disconnect
from lstm_lm.serving.pool import ConcurrencyLimiter, InferenceThreadPool
from lstm_lm.serving.predictions import PredictionBatcher
from lstm_lm.serving.responses import EventStream, GenerationOutput, collect
from lstm_lm.serving.schemas import (
    ErrorResponse,
    GeneratedText,
    PredictionOptions,
    SamplingOptions,
    Status,
    StopList,
    SuggestedWord,
    Suggestions,
    TextField,
    known_preset,
)
from lstm_lm.serving.settings import Settings
from lstm_lm.serving.strict_json import StrictJSONRoute

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "The body is not JSON"},
    413: {"model": ErrorResponse, "description": "The body is too long"},
    415: {"model": ErrorResponse, "description": "The content type is not JSON"},
    422: {"model": ErrorResponse, "description": "A field is missing, unknown or wrong"},
    503: {"model": ErrorResponse, "description": "Too many requests are waiting"},
}
STREAMED: dict[str, Any] = {
    "description": 'The text; with `stream` events whose data is `{"piece": …}`, then one event `done` with the whole, '
    "or one event `error`",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def health_routes(engine: Engine, settings: Settings, drain: Drain) -> APIRouter:
    """``/health`` and ``/ready``, for whatever keeps the service running."""
    router = APIRouter()
    # a thread of its own: a long queue makes nobody unready
    thread = CapacityLimiter(1)

    def first_step() -> None:
        # never from what is kept: the model itself has to answer
        PrefixCache(0).read(engine.backend, [engine.vocabulary.eos_id])

    @router.get("/health")
    async def health() -> Status:
        """The process lives."""
        return Status()

    @router.get("/ready", responses={503: {"model": ErrorResponse, "description": "The model does not answer"}})
    async def ready() -> Status:
        """A real inference succeeded just now, and the service is not about to end."""
        if drain.started:
            raise HTTPException(503, "not ready: the service is about to end")
        try:
            with move_on_after(settings.ready_seconds):
                await to_thread.run_sync(first_step, limiter=thread, abandon_on_cancel=True)
                return Status()
        except Exception as error:
            raise HTTPException(503, "not ready: the model fails to predict") from error
        raise HTTPException(503, f"not ready: the model took longer than {settings.ready_seconds:g} s")

    return router


def model_routes(
    engine: Engine,
    settings: Settings,
    pool: InferenceThreadPool,
    predictions: PredictionBatcher,
    predict_limiter: ConcurrencyLimiter,
    generations: ContinuousBatcher,
    generate_limiter: ConcurrencyLimiter,
) -> APIRouter:
    """``/predict`` and ``/generate``, with the limits of ``settings`` in their models and places for each."""

    async def acquire_slot() -> AsyncIterator[None]:
        # to the end of the answer, streamed ones too
        with generate_limiter.slot():
            yield

    router = APIRouter(route_class=StrictJSONRoute, responses=ERROR_RESPONSES)

    class PredictRequest(PredictionOptions):
        text: Annotated[TextField, Field(max_length=settings.max_text_chars, description="what was typed so far")]
        k: int = Field(min(10, settings.max_k), ge=1, le=settings.max_k, description="how many suggestions")

    class GenerateRequest(SamplingOptions):
        text: Annotated[TextField, Field(max_length=settings.max_text_chars, description="what to go on from")]
        generate: int = Field(min(50, settings.max_words), ge=1, le=settings.max_words, description="how many words")
        preset: Annotated[str, known_preset(engine.presets)] = Field(
            engine.default_preset,
            json_schema_extra={"enum": list(engine.presets)},
            description="where options that are not given come from",
        )
        stop: StopList = Field([], description="end before the first of these strings")
        stream: bool = Field(False, description="answer with server-sent events, a piece of text each")

    @router.post("/predict")
    async def predict(body: PredictRequest) -> Suggestions:
        """The most probable next words."""
        with predict_limiter.slot():
            prediction = await predictions.predict(body.wanted(body.text, body.k))
        return Suggestions(
            suggestions=[
                SuggestedWord(word=word.word, probability=word.probability) for word in prediction.suggestions
            ],
            unknown_words=list(prediction.unknown_words),
        )

    @router.post(
        "/generate",
        response_model=GeneratedText,
        responses={200: STREAMED},
        dependencies=[Depends(acquire_slot)],
    )
    async def generate(request: Request, body: GenerateRequest) -> GeneratedText | Response:
        """The text, continued: as a whole, or with `stream` as it grows."""
        sampling = with_seed(engine.resolve_sampling(body.preset, **body.changes()))

        def begin() -> tuple[ActiveSequence, GenerationOutput]:
            text = engine.start_generation(body.text, sampling, body.generate)
            return text, GenerationOutput(body.text, text.unknown_words, sampling.seed, body.stop)

        text, continued = await pool.run(begin)
        if body.stream:
            return EventStream(generations, text, continued)
        return await cancel_on_disconnect(request, collect(generations, text, continued))

    return router
