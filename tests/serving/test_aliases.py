"""Request fields that have two names."""

import pytest
from helpers.service_client import Client

BODY = {"text": "the people", "seed": 1, "strategy": "sample", "repeat_window": 80}
PAIRS = [
    ("max_words", "generate", 5, 6),
    ("top_k", "topk", 1, 2),
    ("repetition_penalty", "repeat_penalty", 100, 99.5),
]


@pytest.mark.parametrize(("name", "alias", "value", "other"), PAIRS)
def test_both_names_have_the_same_effect(client: Client, name: str, alias: str, value: float, other: float) -> None:
    expected = client.post_json("/generate", BODY | {name: value})
    assert expected.status_code == 200
    for fields in ({alias: value}, {name: value, alias: value}):
        assert client.post_json("/generate", BODY | fields).json() == expected.json()
    assert client.post_json("/generate", BODY).json() != expected.json()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "alias", "value", "other"), PAIRS)
def test_different_values_get_422_with_both_names(
    client: Client, name: str, alias: str, value: float, other: float, stream: bool
) -> None:
    response = client.post_json("/generate", BODY | {name: value, alias: other, "stream": stream})
    assert response.status_code == 422
    (problem,) = response.json()["problems"]
    fields, _, message = problem.partition(": ")
    assert set(fields.split(", ")) == {name, alias}
    assert message == "aliases with different values; send only one of them"


def test_every_conflict_is_named_at_once(client: Client) -> None:
    fields = {name: value for name, _, value, _ in PAIRS} | {alias: other for _, alias, _, other in PAIRS}
    problems = client.post_json("/generate", BODY | fields).json()["problems"]
    named = {frozenset(problem.partition(":")[0].split(", ")) for problem in problems}
    assert named == {frozenset({name, alias}) for name, alias, _, _ in PAIRS}


def test_null_is_no_conflict(client: Client) -> None:
    for name, alias, value, _ in PAIRS[1:]:
        expected = client.post_json("/generate", BODY | {name: value}).json()
        assert client.post_json("/generate", BODY | {name: None, alias: value}).json() == expected
        assert client.post_json("/generate", BODY | {name: value, alias: None}).json() == expected


def test_schema_has_both_names_with_one_type(client: Client) -> None:
    properties = client.get("/openapi.json").json()["components"]["schemas"]["GenerateRequest"]["properties"]
    names = list(properties)
    for name, alias, _, _ in PAIRS:
        assert names.index(alias) == names.index(name) + 1
        assert properties[alias]["description"] == f"alias of {name}"
        own = {"title", "description"}
        assert {key: value for key, value in properties[name].items() if key not in own} == {
            key: value for key, value in properties[alias].items() if key not in own
        }
