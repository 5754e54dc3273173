"""What the service is told by its environment: variables ``LSTM_LM_BUNDLE``, ``LSTM_LM_MAX_K`` and so on."""

import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lstm_lm.errors import ConfigError
from lstm_lm.inference.loading import BACKENDS

ENV_PREFIX = "LSTM_LM_"
# read by other parts of the package
OTHER_VARIABLES = frozenset({"LSTM_LM_CACHE", "LSTM_LM_ENVIRONMENT"})
RENAMED = {"LSTM_LM_MAX_WAITING": "LSTM_LM_MAX_QUEUE_SIZE", "LSTM_LM_WORKERS": "LSTM_LM_PREFILL_THREADS"}
# Kubernetes sets these in every pod beside a service named lstm-lm
SERVICE_LINK = re.compile(r"LSTM_LM_(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_.+)")
ORIGIN = re.compile(r"https?://[^/?#@\s*]+")


def _sendable(key: SecretStr) -> SecretStr:
    # what cannot stand in a header could never be given
    if not re.fullmatch(r"[!-~]{8,256}", key.get_secret_value()):
        raise PydanticCustomError("key", "must be 8 to 256 printable ASCII characters without spaces")
    return key


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _origin(origin: str) -> str:
    if origin != "*" and not ORIGIN.fullmatch(origin):
        raise PydanticCustomError("origin", "must be sites such as https://example.org, with commas between, or *")
    return origin


Origins = tuple[Annotated[str, AfterValidator(_origin)], ...]


def _known_backend(name: str) -> str:
    if name not in BACKENDS:
        raise PydanticCustomError("backend", "must be one of {names}", {"names": ", ".join(BACKENDS)})
    return name


class Settings(BaseSettings):
    """Settings of one service process, each from the environment variable of its name with ``LSTM_LM_`` before it.

    Attributes:
        bundle: The exported bundle to serve.
        host: Address to listen on, for ``lstm-lm serve``; uvicorn takes its own ``--host``.
        port: Port to listen on, for ``lstm-lm serve``; 0 takes a free one.
        backend: What runs the network: ``int8``, ``onnx`` or ``torch``; ``auto`` is the first that the bundle has.
        prefix_cache_size: Most beginnings of texts whose state is kept, so that a text that grew by a word costs one
            step of the model; 0 keeps none. Each takes about 12 kB with the medium model.
        prefill_threads: Threads that prefill longer texts, beside the one for predictions and the one for generation;
            the event loop itself never runs the model.
        max_batch: Most texts in one step of the model.
        max_queue_size: Largest number of waiting predictions beyond ``prefill_threads``, and the same number of running
            or waiting generations; one more is answered with 503 and Retry-After.
        max_body_bytes: Longest request body; a longer one is answered 413 before it is read to its end.
        max_text_chars: Longest ``text`` of a request.
        max_k: Most suggestions that one request may ask for.
        max_words: Most words that one request may generate.
        ready_seconds: Longest time that the inference behind ``/ready`` may take.
        drain_seconds: How long after SIGTERM everything is still answered, while ``/ready`` says 503, so that whoever
            distributes requests notices.
        api_key: Asked for on every route but ``/health`` and ``/ready``; unset asks for none.
        cors_origins: Sites whose pages may call the service, with commas between; ``*`` is every site, unset none.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    bundle: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    backend: Annotated[str, AfterValidator(_known_backend)] = "auto"
    prefix_cache_size: Annotated[int, Field(ge=0, le=1_000_000)] = 1024
    prefill_threads: Annotated[int, Field(ge=1, le=256)] = 2
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 32
    max_queue_size: Annotated[int, Field(ge=0)] = 512
    max_body_bytes: Annotated[int, Field(ge=1024)] = 262_144
    max_text_chars: Annotated[int, Field(ge=1)] = 10_000
    max_k: Annotated[int, Field(ge=1)] = 100
    max_words: Annotated[int, Field(ge=1)] = 500
    ready_seconds: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 5.0
    drain_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 2.0
    api_key: Annotated[SecretStr, AfterValidator(_sendable)] | None = None
    cors_origins: Annotated[Origins, NoDecode, BeforeValidator(_listed)] = ()


def read_settings(**overrides: Any) -> Settings:
    """Settings from the environment.

    Args:
        **overrides: Values that win over the environment.

    Raises:
        ConfigError: With every variable that is missing, unknown or wrong.
    """
    problems = list(_unknown_variables(os.environ))
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems += [_problem(detail["loc"], detail["type"], detail["msg"]) for detail in error.errors()]
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return settings


def _unknown_variables(names: Iterable[str]) -> Iterator[str]:
    known = [f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in sorted(names):
        upper = name.upper()  # pydantic-settings ignores case
        if not upper.startswith(ENV_PREFIX) or upper in OTHER_VARIABLES.union(known) or SERVICE_LINK.fullmatch(upper):
            continue
        near = [RENAMED[upper]] if upper in RENAMED else get_close_matches(upper, known, n=1, cutoff=0.75)
        remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"
        yield f"{name}: is not a setting; {remedy}"


def _problem(location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = str(location[0])
    if kind == "missing":
        message = "is not set; give the folder that `lstm-lm export` wrote"
    return f"{ENV_PREFIX}{name.upper()}: {message[0].lower()}{message[1:]}"
