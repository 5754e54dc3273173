"""The files with which the page runs the model in the browser: the built JavaScript client, and the model itself."""

import json
from dataclasses import dataclass

from lstm_lm.bundle import RULES, VOCABULARY, Bundle
from lstm_lm.errors import ConfigError
from lstm_lm.inference.client_rules import client_rules
from lstm_lm.inference.loading import INT8, ONNX
from lstm_lm.saved_model import SavedModel
from lstm_lm.serving.settings import ENV_PREFIX, Settings

_NEEDED = frozenset(("predictor.js", "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"))
_SUFFIXES = frozenset((".js", ".mjs", ".wasm"))


@dataclass(frozen=True)
class BrowserClient:
    """What a browser loads to run the model."""

    code: dict[str, bytes]
    """The client's files by name."""
    model: dict[str, bytes]
    """The bundle's graph, its vocabulary and its rules by name."""
    graph: str
    """Name of the graph."""


def browser_client(settings: Settings, model: SavedModel | None) -> BrowserClient | None:
    """Read the client of ``settings``; ``None`` if there is none.

    The rules have the block list of this service, so that page and service suggest the same words.

    Raises:
        ConfigError: If the folder is not a built client, or the model has no ONNX graph.
    """
    folder, name = settings.browser_client, f"{ENV_PREFIX}BROWSER_CLIENT"
    if folder is None or model is None:
        return None
    try:
        code = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in _SUFFIXES}
    except OSError as error:
        raise ConfigError([f"{name}: cannot read {folder} ({error.strerror}); {_BUILD}"]) from None
    if missing := sorted(_NEEDED - code.keys()):
        raise ConfigError([f"{name}: {folder} has no {missing[0]}; {_BUILD}"])
    graph = next((file for file in (INT8, ONNX) if isinstance(model, Bundle) and file in model.files), None)
    if graph is None:
        raise ConfigError([f"{name}: {settings.bundle} has no ONNX graph; export a bundle with one"])
    rules = client_rules(model.vocabulary, settings.blocked_words(), model.metadata.cache)
    files = {graph: (model.path / graph).read_bytes(), VOCABULARY: (model.path / VOCABULARY).read_bytes()}
    return BrowserClient(code, {**files, RULES: json.dumps(rules, ensure_ascii=False).encode()}, graph)


_BUILD = "build the client with `npm ci && npm run build` in clients/web"
