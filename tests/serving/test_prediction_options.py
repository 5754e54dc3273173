"""The options of /predict reach the engine; wrong ones get a message."""

from dataclasses import asdict
from pathlib import Path

import pytest
from helpers.service_client import Client

from lstm_lm.bundle import read_bundle
from lstm_lm.inference.config import CacheConfig
from lstm_lm.inference.engine import Engine


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return read_bundle(tiny_bundle).engine()


TEXT = "People in London want zyzzyva , and London wants"


@pytest.mark.parametrize(
    ("sent", "arguments"),
    [
        ({"prefix": "t"}, {"prefix": "t"}),
        ({"prefix": "Th"}, {"prefix": "Th"}),
        ({"words_only": True}, {"words_only": True}),
        ({"allow": ["the", "of", "London"]}, {"allow": ["the", "of", "London"]}),
        ({"allow": "the,of,London", "deny": "of"}, {"allow": ["the", "of", "London"], "deny": ["of"]}),
        ({"deny": ["the", "London"]}, {"deny": ["the", "London"]}),
        ({"allow": [], "deny": []}, {"allow": []}),
        ({"cache": True}, {"cache": CacheConfig()}),
        ({"cache": {}}, {"cache": CacheConfig()}),
        ({"cache": {"weight": 0.5, "theta": 1, "window": 3}}, {"cache": CacheConfig(0.5, 1.0, 3)}),
        ({"cache": False}, {}),
        ({"cache": None, "allow": None}, {}),
        ({"split": True}, {"split": True}),
        (
            {"user_words": {"Zork": 3, "zoom": 0.5}, "prefix": "z"},
            {"user_words": {"Zork": 3, "zoom": 0.5}, "prefix": "z"},
        ),
        ({"recent": ["I saw Zork.", "No"], "prefix": "z"}, {"recent": ["I saw Zork.", "No"], "prefix": "z"}),
        ({"recent": ["I saw Zork."], "cache": False}, {}),
        ({"recent": ["I saw Zork."], "cache": None}, {"recent": ["I saw Zork."]}),
        (dict.fromkeys(("prefix", "split", "typed_word", "words_only", "deny", "user_words", "recent")), {}),
        ({"prefix": "the", "typed_word": "never"}, {"prefix": "the", "typed_word": "never"}),
        ({"prefix": "zy", "cache": {"weight": 0.5}}, {"prefix": "zy", "cache": CacheConfig(0.5)}),
    ],
)
def test_predict_matches_the_engine(
    client: Client, engine: Engine, sent: dict[str, object], arguments: dict[str, object]
) -> None:
    response = client.post_json("/predict", {"text": TEXT, "k": 8, **sent})
    assert response.status_code == 200, response.text
    expected = engine.predict(TEXT, 8, **arguments)  # type: ignore[arg-type]
    assert response.json()["suggestions"] == [
        asdict(suggestion) | {"probability": pytest.approx(suggestion.probability, abs=1e-6)}
        for suggestion in expected.suggestions
    ]


def test_cache_suggests_unknown_words_of_the_text(client: Client) -> None:
    body = {"text": TEXT, "prefix": "zy", "k": 3}
    assert client.post_json("/predict", body).json()["suggestions"] == []
    suggestions = client.post_json("/predict", body | {"cache": True}).json()["suggestions"]
    assert [suggestion["word"] for suggestion in suggestions] == ["zyzzyva"]


@pytest.mark.parametrize(
    "fields",
    [{"prefix": 1}, {"prefix": "a" * 101}, {"prefix": "\x00"}, {"words_only": 1},
     {"allow": 1}, {"allow": [1]}, {"allow": ["a"] * 1001}, {"deny": {}},
     {"deny": ["a" * 101]}, {"cache": 1}, {"cache": "yes"}, {"cache": []}, {"cache": {"weight": 1.5}},
     {"cache": {"weight": "1"}},
     {"cache": {"theta": -1}}, {"cache": {"theta": 1e308}}, {"cache": {"window": -1}}, {"cache": {"lambda": 1}}],
)  # fmt: skip
def test_wrong_option_gets_a_message(client: Client, fields: dict[str, object]) -> None:
    response = client.post_json("/predict", {"text": "a", **fields})
    assert response.status_code == 422
    assert response.json()["detail"].startswith(next(iter(fields)))
