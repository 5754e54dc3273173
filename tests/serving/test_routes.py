"""Responses to valid requests."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from helpers.service_client import Client

from lstm_lm.bundle import read_bundle
from lstm_lm.inference.engine import Engine


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return read_bundle(tiny_bundle).engine()


def test_health_and_ready(client: Client) -> None:
    for path in ("/health", "/ready"):
        response = client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_predict_contract(client: Client, engine: Engine) -> None:
    response = client.post_json("/predict", {"text": "I want to", "k": 10})
    assert response.status_code == 200
    expected = engine.predict("I want to", 10)
    assert response.json() == {
        "suggestions": [
            asdict(suggestion) | {"probability": pytest.approx(suggestion.probability)}
            for suggestion in expected.suggestions
        ],
        "unknown_words": list(expected.unknown_words),
        "characters_read": len("I want to"),
    }
    probabilities = [suggestion["probability"] for suggestion in response.json()["suggestions"]]
    assert len(probabilities) == 10
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1


def test_predict_lists_unknown_words(client: Client) -> None:
    response = client.post_json("/predict", {"text": "the zyzzyva of", "k": 1})
    assert response.json()["unknown_words"] == ["zyzzyva"]


CONTRACT_BODY = {
    "text": "the people that",
    "generate": 30,
    "strategy": "sample",
    "temperature": 0.9,
    "topk": 50,
    "seed": 7,
    "ban_unk": True,
    "ban_tokens": [",", "@-@"],
    "repeat_penalty": 1.2,
    "repeat_window": 80,
    "stop_eos": True,
}


def test_generate_contract(client: Client) -> None:
    response = client.post_json("/generate", CONTRACT_BODY)
    assert response.status_code == 200
    generated = response.json()
    assert generated["text"].startswith("the people that")
    assert len(generated["words"]) <= 30
    assert not {",", "@-@", "<unk>", "<eos>"} & set(generated["words"])
    assert generated["seed"] == 7
    assert client.post_json("/generate", CONTRACT_BODY).json() == generated
    assert client.post_json("/generate", CONTRACT_BODY | {"seed": 8}).json()["words"] != generated["words"]


def test_generate_matches_the_engine(client: Client, engine: Engine) -> None:
    for preset in engine.presets:
        body = {"text": "the zyzzyva isn't", "generate": 12, "seed": 3, "preset": preset}
        generated = client.post_json("/generate", body).json()
        expected = engine.generate("the zyzzyva isn't", replace(engine.presets[preset], seed=3), 12)
        assert generated["text"] == expected.text
        assert generated["words"] == list(expected.words)
        assert generated["unknown_words"] == list(expected.unknown_words)


def test_drawn_seed_is_returned_and_repeats_the_text(client: Client) -> None:
    body = {"text": "the", "generate": 20, "strategy": "sample"}
    first = client.post_json("/generate", body).json()
    assert client.post_json("/generate", body | {"seed": first["seed"]}).json() == first
    assert client.post_json("/generate", body).json()["seed"] != first["seed"]
    assert client.post_json("/generate", body | {"strategy": "greedy"}).json()["seed"] is None


def test_banned_words_as_one_string(client: Client) -> None:
    body = CONTRACT_BODY | {"ban_tokens": '",@-@,the'}
    assert not {'"', "@-@", "the"} & set(client.post_json("/generate", body).json()["words"])


def test_null_options_come_from_the_preset(client: Client) -> None:
    body = {"text": "the", "generate": 10, "seed": 1}
    nulls = dict.fromkeys(("strategy", "temperature", "topk", "top_p", "ban_unk", "ban_tokens", "repeat_window"))
    assert client.post_json("/generate", body | nulls).json() == client.post_json("/generate", body).json()


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "\n\n", "the\tof", "😀", "👩‍👩‍👧‍👦 family",
        "مرحبا بالعالم", "\u202eright to left", "e\u0301", "\ufeff", "\uffff",
        "don't 1,000 well-known", "<unk> <eos>", "a" * 2000, "\U0001f600" * 2000, "the " * 500,
        "1" * 2000, '" ' * 1000, "' " * 1000, "\\", '"', "&amp; <b>",
    ],
)  # fmt: skip
def test_any_text_is_accepted(client: Client, text: str) -> None:
    predicted = client.post_json("/predict", {"text": text, "k": 3})
    assert predicted.status_code == 200, predicted.text
    assert len(predicted.json()["suggestions"]) == 3
    generated = client.post_json("/generate", {"text": text, "generate": 3})
    assert generated.status_code == 200, generated.text
    assert generated.json()["text"].startswith(text)


def test_values_at_their_bounds_are_accepted(client: Client) -> None:
    assert len(client.post_json("/predict", {"text": "a", "k": 20}).json()["suggestions"]) == 20
    body = {"text": "a", "generate": 50, "temperature": 100, "topk": 1_000_000, "top_p": 1e-12, "seed": 2**63 - 1}
    response = client.post_json("/generate", body | {"repeat_penalty": 100, "repeat_window": 1_000_000})
    assert response.status_code == 200
    assert len(response.json()["words"]) == 50
    assert client.post_json("/generate", {"text": "a", "generate": 5, "temperature": 1e-308}).status_code == 200


def test_a_long_text_is_read_from_its_end(client: Client, engine: Engine) -> None:
    end = "of " * 600 + "people want "
    text = "London " * 500 + end
    predicted = client.post_json("/predict", {"text": text, "k": 5}).json()
    read = text[len(text) - predicted["characters_read"] :]
    assert 1980 < len(read) <= 2000
    assert read.startswith((" London", " of"))
    assert predicted["suggestions"] == [
        asdict(suggestion) | {"probability": pytest.approx(suggestion.probability, abs=1e-6)}
        for suggestion in engine.predict(read, 5).suggestions
    ]
    generated = client.post_json("/generate", {"text": text, "generate": 3, "strategy": "greedy"}).json()
    assert generated["text"].startswith(text)
    assert generated["characters_read"] == len(read)
    assert client.post_json("/predict", {"text": "a" * 3000}).json()["characters_read"] == 2000


def test_finish_reason(client: Client) -> None:
    body = {"text": "the", "generate": 20, "seed": 1}
    everything = client.post_json("/generate", body).json()
    assert (everything["finish_reason"], len(everything["words"])) == ("length", 20)
    word = everything["words"][5]
    for stop in (word, [word]):
        assert client.post_json("/generate", body | {"stop": stop}).json()["finish_reason"] == "stop"
    # nearly uniform over the vocabulary, so that some line ends before 50 words
    uniform = body | {"stop_eos": True, "temperature": 100, "topk": 0, "generate": 50}
    reasons = set()
    for seed in range(20):
        ended = client.post_json("/generate", uniform | {"seed": seed}).json()
        assert ended["finish_reason"] == ("length" if len(ended["words"]) == 50 else "end_of_line")
        reasons.add(ended["finish_reason"])
    assert "end_of_line" in reasons


def test_temperature_0_is_greedy(client: Client) -> None:
    body = {"text": "the people", "generate": 9}
    greedy = client.post_json("/generate", body | {"strategy": "greedy"}).json()
    assert client.post_json("/generate", body | {"temperature": 0}).json() == greedy
    assert client.post_json("/generate", body | {"temperature": 0.0, "strategy": "sample"}).json() == greedy


@pytest.mark.parametrize(
    "path", ["/health", "/ready", "/info", "/metrics", "/docs", "/openapi.json", "/", "/page/main.js"]
)
def test_head_is_get_without_a_body(client: Client, path: str) -> None:
    head, get = client.request("HEAD", path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "etag"):
        assert head.headers.get(name) == get.headers.get(name)


@pytest.mark.parametrize("path", ["/predict/", "/v1/predict", "/v1/predict/"])
def test_other_paths_of_a_route(client: Client, path: str) -> None:
    body = {"text": "I want to", "k": 3}
    response = client.post_json(path, body)
    assert (response.status_code, response.json()) == (200, client.post_json("/predict", body).json())
    assert client.get("/v1/health").json() == client.get("/health/").json() == {"status": "ok"}


def test_a_request_id_is_kept_or_new(client: Client) -> None:
    def answered(given: str) -> str:
        return client.request("GET", "/health", headers={"X-Request-ID": given}).headers["x-request-id"]

    assert answered("abc-1") == "abc-1"
    assert len({answered(bad) for bad in ("", "a b", "a" * 129)} - {"", "a b", "a" * 129}) == 3
    assert client.get("/nowhere").headers["x-request-id"]
