"""The routes of the model and of the health checks."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import CapacityLimiter, move_on_after, to_thread
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from pydantic import Field

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.prefix_cache import PrefixCache
from lstm_lm.inference.sampling import with_seed
from lstm_lm.inference.sequences import ActiveSequence
from lstm_lm.serving.disconnect import cancel_on_disconnect
from lstm_lm.serving.docs import MODEL_TAG, SERVICE_TAG
from lstm_lm.serving.draining import Drain
from lstm_lm.serving.generation import ContinuousBatcher
from lstm_lm.serving.generation_output import GenerationOutput, collect
from lstm_lm.serving.pool import ConcurrencyLimiter, InferenceThreadPool
from lstm_lm.serving.predictions import PredictionBatcher
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
    preset_validator,
    read_end,
    with_example,
)
from lstm_lm.serving.settings import Settings
from lstm_lm.serving.sse import EventStream
from lstm_lm.serving.strict_json import StrictJSONRoute

SAMPLING_FIELDS = SamplingConfig.__dataclass_fields__.keys()
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "The body is not JSON"},
    413: {"model": ErrorResponse, "description": "The body is too long"},
    415: {"model": ErrorResponse, "description": "The content type is not JSON"},
    422: {"model": ErrorResponse, "description": "A field is missing, unknown or invalid"},
    503: {"model": ErrorResponse, "description": "Too many requests are waiting"},
}
STREAMED: dict[str, Any] = {
    "description": 'The text. With `stream`: one event per piece of text, with the data `{"piece": …}`, then one event '
    "`done` with the complete response, or one event `error`",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def health_routes(engine: Engine, settings: Settings, drain: Drain) -> APIRouter:
    """``/health`` and ``/ready``, for a supervisor or load balancer."""
    router = APIRouter(tags=[SERVICE_TAG])
    # a separate thread: a long queue must not make the service unready
    limiter = CapacityLimiter(1)

    def infer() -> None:
        # without a cache, so that the model itself runs
        PrefixCache(0).forward(engine.backend, [engine.vocabulary.eos_id])

    @router.get("/health")
    async def health() -> Status:
        """The process is alive."""
        return Status()

    @router.get("/ready", responses={503: {"model": ErrorResponse, "description": "The service is not ready"}})
    async def ready() -> Status:
        """A test inference succeeds, and the service is not shutting down."""
        if drain.started:
            raise HTTPException(503, "not ready: shutting down")
        try:
            with move_on_after(settings.ready_seconds):
                await to_thread.run_sync(infer, limiter=limiter, abandon_on_cancel=True)
                return Status()
        except Exception as error:
            raise HTTPException(503, "not ready: inference failed") from error
        raise HTTPException(503, f"not ready: inference took longer than {settings.ready_seconds:g} s")

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
    """``/predict`` and ``/generate``; the limits of ``settings`` are part of their schemas."""

    async def acquire_slot() -> AsyncIterator[None]:
        # until the response is complete, also when streamed
        with generate_limiter.slot():
            yield

    router = APIRouter(route_class=StrictJSONRoute, responses=ERROR_RESPONSES, tags=[MODEL_TAG])
    default_k, default_words = min(10, settings.max_k), min(50, settings.max_words)
    read = f"of a longer one, the last {settings.max_text_chars} characters are read"
    WordCount = Annotated[int, Field(ge=1, le=settings.max_words)]  # noqa: N806

    class PredictRequest(PredictionOptions):
        model_config = with_example({"text": "I want to", "k": default_k})

        text: TextField = Field(description=f"the text before the predicted word; {read}")
        k: int = Field(default_k, ge=1, le=settings.max_k, description="maximum number of suggestions")

    class GenerateRequest(SamplingOptions):
        model_config = with_example(
            {
                "text": "The people that",
                "max_words": default_words,
                "strategy": "sample",
                "temperature": 0.9,
                "top_k": 50,
                "repetition_penalty": 1.2,
                "repeat_window": 80,
                "seed": 7,
            }
        )

        text: TextField = Field(description=f"the text to continue; {read}")
        max_words: WordCount = Field(default_words, description="maximum number of words to generate")
        generate: WordCount = Field(default_words, description="alias of max_words")
        preset: Annotated[str, preset_validator(engine.presets)] = Field(
            engine.default_preset,
            json_schema_extra={"enum": list(engine.presets)},
            description="preset that supplies the options that are not given",
        )
        stop: StopList = Field([], description="stop before the first of these strings")
        stream: bool = Field(False, description="stream the text as server-sent events")

    @router.post("/predict")
    async def predict(body: PredictRequest) -> Suggestions:
        """Suggest the most probable next words."""
        text = read_end(body.text, settings.max_text_chars)
        with predict_limiter.slot():
            prediction = await predictions.predict(body.to_request(engine, text, body.k, settings.max_text_chars))
        return Suggestions(
            suggestions=[SuggestedWord.model_construct(**vars(suggestion)) for suggestion in prediction.suggestions],
            unknown_words=list(prediction.unknown_words),
            characters_read=len(text),
        )

    @router.post(
        "/generate",
        response_model=GeneratedText,
        responses={200: STREAMED},
        dependencies=[Depends(acquire_slot)],
    )
    async def generate(request: Request, body: GenerateRequest) -> GeneratedText | Response:
        """Continue a text. Returns the complete text, or streams it with `stream`."""
        given = body.given()
        overrides = {name: given[name] for name in given.keys() & SAMPLING_FIELDS}
        text = read_end(body.text, settings.max_text_chars)
        sampling = with_seed(engine.resolve_sampling(body.preset, **overrides))

        def start() -> tuple[ActiveSequence, GenerationOutput]:
            sequence = engine.start_generation(text, sampling, given.get("max_words", default_words))
            return sequence, GenerationOutput(body.text, len(text), sequence, sampling.seed, body.stop)

        sequence, output = await pool.run(start)
        if body.stream:
            return EventStream(generations, sequence, output)
        return await cancel_on_disconnect(request, collect(generations, sequence, output))

    return router
