"""``/info``: the model card as JSON, and the limits of the service."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from lstm_lm import __version__
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.info import ModelInfo
from lstm_lm.serving.settings import Settings


class Limits(BaseModel):
    """How much one request may ask for."""

    max_text_chars: int
    max_k: int
    max_words: int


class ModelCard(BaseModel):
    """The answer of ``/info``. What was not told to the service is null."""

    # "model" is our word for the network's shape, and hides nothing of pydantic's
    model_config = ConfigDict(protected_namespaces=())

    version: str = Field(description="of lstm_lm")
    name: str | None = None
    vocabulary_size: int
    parameters: int | None = None
    model: dict[str, Any] | None = Field(default=None, description="what the network is made of")
    tokenizer: str | None = Field(default=None, description="how the corpus was cut into words")
    data: dict[str, Any] | None = Field(default=None, description="the corpus")
    metrics: dict[str, Any] | None = Field(default=None, description="scores by split")
    presets: dict[str, dict[str, Any]] = Field(description="sampling presets by name")
    default_preset: str = Field(description="the preset that is meant when none is named")
    limits: Limits


def info_route(engine: Engine, settings: Settings, about: ModelInfo | None) -> APIRouter:
    """``/info`` about ``engine``, as far as it is known."""
    router = APIRouter()
    limits = Limits(max_text_chars=settings.max_text_chars, max_k=settings.max_k, max_words=settings.max_words)
    card = ModelCard(
        version=__version__,
        vocabulary_size=len(engine.vocabulary),
        presets={name: asdict(preset) for name, preset in engine.presets.items()},
        default_preset=engine.default_preset,
        limits=limits,
    )
    if about is not None:
        known = {
            "name": about.name,
            "parameters": about.model.num_parameters(len(engine.vocabulary)),
            "model": asdict(about.model),
            "tokenizer": about.tokenizer,
            "data": about.data,
            "metrics": about.metrics,
        }
        card = card.model_copy(update=known)

    @router.get("/info")
    async def info() -> ModelCard:
        """What this service serves."""
        return card

    return router
