"""Settings of the service from environment variables: ``LSTM_LM_BUNDLE``, ``LSTM_LM_MAX_K`` and so on."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lstm_lm.errors import ConfigError, did_you_mean
from lstm_lm.inference.blocklist import read_word_file, shipped_blocklist
from lstm_lm.inference.loading import BACKENDS
from lstm_lm.pretrained import PRETRAINED
from lstm_lm.settings import CACHE, CELLS, GUARD

ENV_PREFIX = "LSTM_LM_"
# variables that other modules read
OTHER_VARIABLES = frozenset({CACHE, CELLS, GUARD})
RENAMED_SETTINGS = {"MAX_WAITING": "MAX_QUEUE_SIZE", "WORKERS": "PREFILL_THREADS"}
# Kubernetes sets these in every pod beside a service named lstm-lm
SERVICE_LINK = re.compile(r"LSTM_LM_(SERVICE_(HOST|PORT(_.+)?)|PORT_\d+_.+)")
ORIGIN = re.compile(r"https?://[^/?#@\s*]+")


def _check_key(key: SecretStr) -> SecretStr:
    # a client must be able to send it in a header
    if not re.fullmatch(r"[!-~]{8,256}", key.get_secret_value()):
        raise PydanticCustomError("key", "must be 8 to 256 printable ASCII characters without spaces")
    return key


def _split_commas(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _check_origin(origin: str) -> str:
    if origin != "*" and not ORIGIN.fullmatch(origin):
        raise PydanticCustomError("origin", "must be origins such as https://example.org, separated by commas, or *")
    return origin


def _check_root_path(path: str) -> str:
    path = path.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise PydanticCustomError("root_path", "must be a path such as /keyboard")
    return path


Origins = tuple[Annotated[str, AfterValidator(_check_origin)], ...]


def _check_backend(name: str) -> str:
    if name not in BACKENDS:
        raise PydanticCustomError("backend", "must be one of {names}", {"names": ", ".join(BACKENDS)})
    return name


class Settings(BaseSettings):
    """Settings of one service process. The environment variable of a field is its name with the prefix ``LSTM_LM_``.

    Attributes:
        bundle: The bundle, run folder or checkpoint to serve, or ``hf://USER/NAME``; unset, the model that ships
            with the package.
        host: Address to listen on with ``lstm-lm serve``; uvicorn takes its own ``--host``.
        port: Port to listen on with ``lstm-lm serve``; 0 takes a free one.
        backend: Backend of the network: ``int8``, ``onnx`` or ``torch``; ``auto`` is the first of these that the bundle
            has a file for.
        prefix_cache_size: Maximum number of text prefixes whose LSTM state is cached, so that a text that grew by one
            word costs one step of the model; 0 disables the cache. A state takes about 12 kB with the medium model.
        prefill_threads: Threads that prefill longer texts. Predictions and generations have one more thread each.
        max_batch: Maximum number of texts in one step of the model.
        max_queue_size: Maximum number of predictions that wait, in addition to ``prefill_threads`` that run, and of
            generations likewise; further requests get 503 with Retry-After.
        max_body_bytes: Maximum length of a request body; a longer one gets 413 before it is read completely.
        max_text_chars: Maximum length of the ``text`` of a request.
        max_k: Maximum number of suggestions per request.
        max_words: Maximum number of generated words per request.
        ready_seconds: Time limit for the inference behind ``/ready``.
        drain_seconds: Drain period after SIGTERM: requests are still answered while ``/ready`` returns 503, so that a
            load balancer sends them elsewhere.
        blocklist: Whether the words of the shipped block list are never suggested, and generated only if the prompt has
            them.
        deny_file: A text file with further such words, one per line.
        browser_client: The built JavaScript client, clients/web/dist; the page can then run the model in the browser.
        root_path: Path prefix under which a proxy serves this service, such as ``/keyboard``.
        keep_alive_seconds: Time after which an idle connection is closed, with ``lstm-lm serve``.
        threads: Threads of one step of the model; 0 is one per CPU that the process may use, at most 4.
        access_log: Whether each request is logged.
        log_format: ``text``, or ``json`` for one JSON object per line, with ``lstm-lm serve``.
        api_key: Required on every route except ``/health`` and ``/ready``; unset requires none.
        cors_origins: Origins whose pages may call the service, separated by commas; ``*`` allows all, unset none.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    bundle: Path = PRETRAINED
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    backend: Annotated[str, AfterValidator(_check_backend)] = "auto"
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
    blocklist: bool = True
    deny_file: Path | None = None
    browser_client: Path | None = None
    root_path: Annotated[str, AfterValidator(_check_root_path)] = ""
    keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 75
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    access_log: bool = True
    log_format: Literal["text", "json"] = "text"
    api_key: Annotated[SecretStr, AfterValidator(_check_key)] | None = None
    cors_origins: Annotated[Origins, NoDecode, BeforeValidator(_split_commas)] = ()

    def blocked_words(self) -> tuple[str, ...]:
        """The words of the block list and of the operator's file.

        Raises:
            ConfigError: If the file cannot be read.
        """
        own = () if self.deny_file is None else read_word_file(self.deny_file, f"{ENV_PREFIX}DENY_FILE")
        return (shipped_blocklist() if self.blocklist else ()) + own


def read_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment.

    Args:
        **overrides: Values that take precedence over the environment.

    Raises:
        ConfigError: With every variable that is missing, unknown or wrong.
    """
    problems = list(_unknown_variables(os.environ))
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems += [_problem(detail["loc"], detail["msg"]) for detail in error.errors()]
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return settings


def _unknown_variables(names: Iterable[str]) -> Iterator[str]:
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted(names):
        upper = name.upper()  # pydantic-settings ignores case
        if not upper.startswith(ENV_PREFIX) or upper in OTHER_VARIABLES or SERVICE_LINK.fullmatch(upper):
            continue
        setting = upper.removeprefix(ENV_PREFIX)
        if setting in known:
            continue
        remedy = did_you_mean(setting, known, renamed=RENAMED_SETTINGS, form=f"{ENV_PREFIX}{{}}", cutoff=0.75)
        yield f"{name}: is not a setting; {remedy}"


def _problem(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0])
    return f"{ENV_PREFIX}{name.upper()}: {message[0].lower()}{message[1:]}"
