"""The routes of the service."""

from typing import Annotated, Any

from anyio import CapacityLimiter, move_on_after, to_thread
from fastapi import APIRouter, HTTPException, Request
from pydantic import Field

from lstm_lm.inference.engine import Engine
from lstm_lm.inference.sampling import with_seed
from lstm_lm.serving.generation import generate_words
from lstm_lm.serving.pool import InferencePool
from lstm_lm.serving.schemas import (
    Failure,
    GeneratedText,
    RequestBody,
    SamplingOptions,
    Status,
    SuggestedWord,
    Suggestions,
    Text,
    known_preset,
)
from lstm_lm.serving.settings import Settings
from lstm_lm.serving.strict_json import StrictJSONRoute
from lstm_lm.text.typed import continuation

FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": Failure, "description": "The body is not JSON"},
    413: {"model": Failure, "description": "The body is too long"},
    415: {"model": Failure, "description": "The content type is not JSON"},
    422: {"model": Failure, "description": "A field is missing, unknown or wrong"},
    503: {"model": Failure, "description": "Too many requests are waiting"},
}


def probes(engine: Engine, settings: Settings) -> APIRouter:
    """``/health`` and ``/ready``, for whatever keeps the service running."""
    router = APIRouter()
    # a thread of its own: a long queue makes nobody unready
    thread = CapacityLimiter(1)

    @router.get("/health")
    async def health() -> Status:
        """The process lives."""
        return Status()

    @router.get("/ready", responses={503: {"model": Failure, "description": "The model does not answer"}})
    async def ready() -> Status:
        """A real inference succeeded just now."""
        try:
            with move_on_after(settings.ready_seconds):
                await to_thread.run_sync(engine.predict, "", 1, limiter=thread, abandon_on_cancel=True)
                return Status()
        except Exception as error:
            raise HTTPException(503, "not ready: the model fails to predict") from error
        raise HTTPException(503, f"not ready: the model took longer than {settings.ready_seconds:g} s")

    return router


def model_routes(engine: Engine, settings: Settings, pool: InferencePool) -> APIRouter:
    """``/predict`` and ``/generate``, with the limits of ``settings`` in their models."""
    router = APIRouter(route_class=StrictJSONRoute, responses=FAILURES)

    class PredictRequest(RequestBody):
        text: Annotated[Text, Field(max_length=settings.max_text_chars, description="what was typed so far")]
        k: int = Field(min(10, settings.max_k), ge=1, le=settings.max_k, description="how many suggestions")

    class GenerateRequest(SamplingOptions):
        text: Annotated[Text, Field(max_length=settings.max_text_chars, description="what to go on from")]
        generate: int = Field(min(50, settings.max_words), ge=1, le=settings.max_words, description="how many words")
        preset: Annotated[str, known_preset(engine.presets)] = Field(
            engine.default_preset,
            json_schema_extra={"enum": list(engine.presets)},
            description="where options that are not given come from",
        )

    @router.post("/predict")
    async def predict(body: PredictRequest) -> Suggestions:
        """The most probable next words."""
        with pool.place():
            prediction = await pool.run(engine.predict, body.text, body.k)
        return Suggestions(
            suggestions=[
                SuggestedWord(word=word.word, probability=word.probability) for word in prediction.suggestions
            ],
            unknown_words=list(prediction.unknown_words),
        )

    @router.post("/generate")
    async def generate(request: Request, body: GenerateRequest) -> GeneratedText:
        """The text, continued."""
        sampling = with_seed(engine.sampling(body.preset, **body.changes()))
        with pool.place():
            words = await generate_words(
                request, engine, pool, body.text, sampling, body.generate, settings.slice_seconds
            )
            return await pool.run(_written, engine, body.text, words, sampling.seed)

    return router


def _written(engine: Engine, prompt: str, words: list[str], seed: int | None) -> GeneratedText:
    return GeneratedText(
        text=prompt + continuation(prompt, words),
        words=words,
        unknown_words=list(engine.unknown_words(prompt)),
        seed=seed,
    )
