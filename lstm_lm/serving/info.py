"""``/info``: the model card as JSON, and the service's limits."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from lstm_lm.inference.engine import Engine
from lstm_lm.saved_model import SavedModel
from lstm_lm.serving.browser_client import BrowserClient
from lstm_lm.serving.docs import SERVICE_TAG
from lstm_lm.serving.settings import Settings
from lstm_lm.version import __version__


class Limits(BaseModel):
    """Limits on one request."""

    max_text_chars: int
    max_k: int
    max_words: int


class ModelCard(BaseModel):
    """Response of ``/info``; unknown fields are null."""

    # the field "model" does not shadow an attribute of pydantic
    model_config = ConfigDict(protected_namespaces=())

    version: str = Field(description="version of lstm_lm")
    name: str | None = None
    vocabulary_size: int
    parameters: int | None = None
    model: dict[str, Any] | None = Field(default=None, description="the network's architecture")
    tokenizer: str | None = Field(default=None, description="the corpus's tokenizer")
    data: dict[str, Any] | None = Field(default=None, description="the corpus and the vocabulary's settings")
    metrics: dict[str, Any] | None = Field(default=None, description="scores by split")
    presets: dict[str, dict[str, Any]] = Field(description="sampling presets by name")
    default_preset: str = Field(description="the preset of requests without one")
    cache: dict[str, Any] = Field(description="settings of the neural cache of requests without their own")
    limits: Limits
    browser_graph: str | None = Field(
        default=None, description="graph that the page can run in the browser; null without a browser client"
    )


def info_route(engine: Engine, settings: Settings, model: SavedModel | None, client: BrowserClient | None) -> APIRouter:
    """``/info``: what the engine knows, the metadata of ``model``, and whether the browser can run it."""
    router = APIRouter(tags=[SERVICE_TAG])
    limits = Limits(max_text_chars=settings.max_text_chars, max_k=settings.max_k, max_words=settings.max_words)
    card = ModelCard(
        version=__version__,
        vocabulary_size=len(engine.vocabulary),
        presets={name: asdict(preset) for name, preset in engine.presets.items()},
        default_preset=engine.default_preset,
        cache=asdict(engine.default_cache),
        limits=limits,
        browser_graph=client.graph if client else None,
    )
    if model is not None:
        metadata = model.metadata
        details = {
            "name": model.title,
            "parameters": model.num_parameters,
            "model": asdict(metadata.model),
            "tokenizer": metadata.tokenizer,
            "data": asdict(metadata.data.without_local_paths()),
            "metrics": metadata.metrics,
        }
        card = card.model_copy(update=details)

    @router.get("/info")
    async def info() -> ModelCard:
        """The model, its scores, its presets and the service's limits."""
        return card

    return router
