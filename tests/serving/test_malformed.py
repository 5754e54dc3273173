"""Malformed requests get a 4xx that says what is wrong, and the service survives."""

import json
from collections.abc import Iterator

import pytest
from helpers.service_client import Client

PATHS = ("/predict", "/generate")
JSON_TYPE = {"content-type": "application/json"}
SECRET = "xyzzy-typed-by-a-person"

BROKEN_JSON = {
    "empty": b"",
    "half": b'{"text": "I want',
    "trailing": b'{"text": "a"} x',
    "two": b'{"text": "a"}{"text": "b"}',
    "single quotes": b"{'text': 'a'}",
    "comment": b'{"text": "a" /* no */}',
    "trailing comma": b'{"text": "a",}',
    "NaN": b'{"text": "a", "k": NaN, "generate": NaN}',
    "Infinity": b'{"text": "a", "temperature": Infinity}',
    "minus Infinity": b'{"text": "a", "temperature": -Infinity}',
    "high surrogate": rb'{"text": "\ud800"}',
    "low surrogate": rb'{"text": "\udc00 a"}',
    "surrogates the wrong way round": rb'{"text": "\udc00\ud800"}',
    "surrogate in a name": rb'{"\ud800": 1, "text": "a"}',
    "surrogate as UTF-8": b'{"text": "\xed\xa0\x80"}',
    "Latin-1": '{"text": "café"}'.encode("latin-1"),
    "UTF-16": '{"text": "a"}'.encode("utf-16"),
    "UTF-32": '{"text": "a"}'.encode("utf-32"),
    "cut UTF-8": b'{"text": "\xf0\x9f\x98"}',
    "byte order mark": b'\xef\xbb\xbf{"text": "a"}',
    "bare NUL": b'{"text": "a\x00b"}',
    "NUL bytes": b"\x00" * 1000,
    "bare newline": b'{"text": "a\nb"}',
    "deep lists": b"[" * 50_000,
    "deep closed lists": b"[" * 20_000 + b"]" * 20_000,
    "deep objects": b'{"text":' * 8_000,
    "deep value": b'{"text": "a", "k": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "5,000 digits": b'{"text": "a", "k": ' + b"9" * 5_000 + b"}",
    "binary": bytes(range(256)) * 20,
    "XML": b"<text>a</text>",
    "form": b"text=a&k=3",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}

NOT_AN_OBJECT = [b"null", b"1", b"1e999", b'"text"', b"[]", b'["text"]', b"true", b'[{"text": "a"}]']

WRONG_TEXTS = [
    None,
    1,
    1.5,
    True,
    [],
    ["a"],
    {},
    {"a": 1},
    "\x00",
    "a\x00b",
]

WRONG_FIELDS: dict[str, dict[str, list[object]]] = {
    "/predict": {
        "k": [0, -1, 21, 10**9, 10**30, -(10**30), 1.0, 1.5, "3", True, [], {}, "three"],
        "prefix": [1, True, [], {}, "a" * 101, "\x00", "\U0001f600" * 101],
        "words_only": [0, 1, "true", [], {}],
        "allow": [1, True, {}, [1], [None], ["\x00"], ["a"] * 1001, ["a" * 101]],
        "deny": [1, True, {}, [1], [None], ["\x00"], ["a"] * 1001, ["a" * 101]],
        "split": [0, 1, "true", [], {}],
        "typed_word": ["", "first", 1, True, [], {}],
        "user_words": [
            1,
            "a",
            [],
            ["a"],
            {"a": 0},
            {"a": -1},
            {"a": "1"},
            {"a": True},
            {"a": None},
            {"": 1},
            {"two words": 1},
            {"a\x00": 1},
            {"a" * 101: 1},
            {"a": 1e10},
            {f"w{i}": 1 for i in range(5001)},
        ],
        "recent": [1, "a", {}, [1], [None], ["\x00"], ["a"] * 1001],
        "cache": [
            1,
            "yes",
            [],
            {"weight": 2},
            {"theta": -1},
            {"window": 0.5},
            {"x": 1},
            {"weight": {}},
        ],
    },
    "/generate": {
        "generate": [0, -1, 51, 10**9, 10**400, 2.0, "5", True, [3], {}],
        "max_words": [0, -1, 51, 10**9, 10**400, 2.0, "5", True, [3], {}],
        "strategy": ["", "beam", "GREEDY", 1, True, [], {}, "greedy\x00"],
        "temperature": [-1, -0.1, 101, 1e308, -1e308, 10**400, "1", True, [], {}],
        "topk": [-1, 1.5, 10**30, "5", True, [], {}],
        "top_k": [-1, 1.5, 10**30, "5", True, [], {}],
        "top_p": [0, -0.1, 1.1, 2, "1", True, [], {}],
        "seed": [-1, 2**63, 10**40, 1.5, "7", True, [], {}],
        "ban_unk": [0, 1, "true", "yes", [], {}],
        "stop_eos": [0, 1, "true", "no", [], {}],
        "ban_tokens": [1, True, {}, [1], [None], [["a"]], ["\x00"], ["a"] * 1001, ["a" * 101], {"a": "b"}],
        "repeat_penalty": [0, 0.5, -1, 101, "1.2", True, [], {}],
        "repetition_penalty": [0, 0.5, -1, 101, "1.2", True, [], {}],
        "repeat_window": [-1, 1.5, 10**30, "80", True, [], {}],
        "stop": ["", 1, {}, [""], [1], [None], ["\x00"], ["a"] * 17, ["a" * 101], [["a"]]],
        "stream": [0, 1, "true", [], {}],
        "preset": ["", "nope", 1, True, [], {}, "\x00", "a" * 5000, "\u202e"],
    },
}

WRONG_TYPES = [
    "", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "application", "/", ";", "application/xml", "application/octet-stream", "json", "*/*", "a" * 5000,
    "application/jsonx",
]  # fmt: skip


def bodies() -> Iterator[tuple[str, bytes]]:
    """Every malformed JSON request."""
    for path in PATHS:
        for body in [*BROKEN_JSON.values(), *NOT_AN_OBJECT]:
            yield path, body
        yield path, b"{}"
        for text in WRONG_TEXTS:
            yield path, json.dumps({"text": text}).encode()
        for name in (
            "Text",
            "txt",
            "prompt",
            "",
            "a" * 10_000,
            "\u202etxet",
            "😀",
            "__class__",
            "text.k",
            "\n",
            "\x00",
        ):
            yield path, json.dumps({"text": "a", name: SECRET}).encode()
        yield path, json.dumps({"text": "a", **{f"field{i}": i for i in range(2000)}}).encode()
        for name, values in WRONG_FIELDS[path].items():
            for value in values:
                yield path, json.dumps({"text": "a", name: value}).encode()
    for number in (b"1e999", b"-1e999", b"1E400", b"9" * 4000):
        for name in (b"temperature", b"top_p", b"repeat_penalty", b"seed", b"generate", b"topk"):
            yield "/generate", b'{"text": "a", "' + name + b'": ' + number + b"}"


def test_malformed_body_gets_a_message(client: Client) -> None:
    # null means that a field is not set, but the text is required
    requests = list(bodies())
    assert len(requests) > 250
    for path, body in requests:
        response = client.post(path, body, JSON_TYPE)
        assert response.status_code in {400, 422}, (path, body[:80], response.status_code, response.text[:200])
        error = response.json()
        assert len(error["detail"]) > 10, (path, body[:80], error)
        assert SECRET not in response.text
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_query_string_is_refused(client: Client, path: str) -> None:
    response = client.post_json(f"{path}?k=3", {"text": "a"})
    assert response.status_code == 400
    assert "JSON body" in response.json()["detail"]


@pytest.mark.parametrize("path", PATHS)
def test_other_content_types_get_415(client: Client, path: str) -> None:
    for content_type in WRONG_TYPES:
        response = client.post(path, b'{"text": "a"}', {"content-type": content_type})
        assert response.status_code == 415, content_type
        assert "Content-Type: application/json" in response.json()["detail"]
    assert client.post(path, b'{"text": "a"}', {}).status_code == 415
    assert client.post(path, b"", {}).status_code == 415


def test_json_content_type_may_have_parameters(client: Client) -> None:
    for content_type in ("application/json; charset=utf-8", "Application/JSON", "application/problem+json"):
        assert client.post("/predict", b'{"text": "a"}', {"content-type": content_type}).status_code == 200


def test_long_body_gets_413_with_and_without_a_length(client: Client) -> None:
    long = b'{"text": "' + b"a" * 70_000 + b'"}'

    async def chunks():  # type: ignore[no-untyped-def]
        for _ in range(100):
            yield b"a" * 1000

    for path in PATHS:
        for body in (long, chunks()):
            response = client.post(path, body, JSON_TYPE)
            assert response.status_code == 413
            assert "65536 bytes" in response.json()["detail"]


def test_wrong_methods_and_paths_get_4xx(client: Client) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"):
        for path in PATHS:
            assert client.request(method, path).status_code == 405
    for path in (
        "/nothing",
        "/%00",
        "/%ff",
        "/docs/../app.py",
        "/docs/%2e%2e/__init__.py",
        "/docs/index.html",
    ):
        assert client.request("POST", path).status_code in {404, 405, 307, 415}, path
        assert client.get(path).status_code in {404, 405, 307}, path


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/predict", {"text": "a", "topk": 1}, ["topk: unknown field", "use one of allow, cache, deny, k"]),
        ("/predict", {"txt": "a"}, ["text: field required", "txt: unknown field; did you mean text?"]),
        ("/predict", {"text": "a", "K": 1}, ["K: unknown field; did you mean k?"]),
        ("/predict", {"text": "a", "cache": {"wieght": 0.2}}, ["cache.wieght: unknown field; did you mean weight?"]),
        ("/predict", {"text": "a", "k": 21}, ["k: input should be less than or equal to 20"]),
        ("/predict", {"text": "a", "prefix": "a" * 101}, ["prefix: must have at most 100 characters"]),
        ("/predict", {"text": "a", "deny": ["a"] * 1001}, ["deny: must have at most 1000 items"]),
        ("/predict", {"text": "a", "user_words": {"a b": 1}}, ["user_words: each must be one word"]),
        ("/predict", {"text": "a", "split": True, "prefix": "b"}, ["split, prefix: "]),
        ("/predict", {"text": None}, ["text: "]),
        ("/predict", {"text": "a", "prompt": "b"}, ["prompt: unknown field; did you mean text?"]),
        ("/generate", {"text": "a", "max_tokens": 1}, ["max_tokens: unknown field; did you mean max_words?"]),
        ("/predict", {"text": "a\x00"}, ["text: must not contain the NUL character"]),
        ("/generate", {"text": "a", "TOP_K": 1}, ["TOP_K: unknown field; did you mean top_k?"]),
        ("/generate", {"text": "a", "topK": 1}, ["topK: unknown field; did you mean topk?"]),
        ("/generate", {"text": "a", "max_word": 1}, ["max_word: unknown field; did you mean max_words?"]),
        ("/generate", {"text": "a", "genrate": 1}, ["genrate: unknown field; did you mean generate?"]),
        ("/generate", {"text": "a", "repetition": 2}, ["repetition: unknown field; did you mean repetition_penalty?"]),
        (
            "/generate",
            {"text": "a", "repeat_penalti": 2},
            ["repeat_penalti: unknown field; did you mean repeat_penalty?"],
        ),
        ("/generate", {"text": "a", "strategy": "beam"}, ["strategy: input should be 'greedy' or 'sample'"]),
        ("/generate", {"text": "a", "preset": "x"}, ["preset: unknown preset; use one of"]),
        ("/generate", {"text": "a", "ban_tokens": ["the", 1]}, ["ban_tokens", "1: input should be a valid string"]),
        ("/generate", {"text": 1, "seed": -1, "topk": -1}, ["text: ", "seed: ", "topk: "]),
    ],
)
def test_response_names_every_problem(client: Client, path: str, body: dict[str, object], words: list[str]) -> None:
    response = client.post(path, json.dumps(body).encode(), JSON_TYPE)
    assert response.status_code == 422
    error = response.json()
    for expected in words:
        assert expected in error["detail"]
    assert "; ".join(error["problems"]) == error["detail"]


@pytest.mark.parametrize(
    "fields",
    [
        {f"f{number}": 1 for number in range(5000)},
        {"ban_tokens": [1] * 20_000},
        {"ban_tokens": ["a"] * 12_000},
        {"ban_tokens": "," * 60_000},
        {"ban_tokens": [f"no-such-word-{number}" for number in range(1000)]},
        {"stop": [1] * 20_000},
    ],
    ids=["names", "no words", "words", "commas", "unknown words", "stop strings"],
)
def test_body_with_many_mistakes_gets_a_short_response(client: Client, fields: dict[str, object]) -> None:
    response = client.post_json("/generate", {"text": "a", **fields})
    assert response.status_code == 422
    assert len(response.content) < 10_000
