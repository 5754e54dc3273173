"""A continuation that is streamed, or ends at a string, is the one that the whole answer tells."""

import json

import pytest
from helpers.service_client import Client

BODY = {"text": "the people", "generate": 40, "seed": 5}


def events(client: Client, body: dict[str, object]) -> list[tuple[str, dict[str, object]]]:
    response = client.post_json("/generate", body | {"stream": True})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("stop", [[], ["the"], [" on", "is "], ["\n"], ["no such string"]])
def test_the_pieces_of_a_stream_are_the_answer(client: Client, stop: list[str]) -> None:
    for seed in range(5):
        body = BODY | {"seed": seed, "stop": stop}
        *pieces, (last, answer) = events(client, body)
        assert {name for name, _ in pieces} <= {"message"}
        assert last == "done"
        assert "the people" + "".join(str(data["piece"]) for _, data in pieces) == answer["text"]
        assert answer == client.post_json("/generate", body).json()


def test_a_text_ends_before_a_stop_string(client: Client) -> None:
    whole = client.post_json("/generate", BODY).json()
    continuation = whole["text"].removeprefix("the people")
    assert len(whole["words"]) == 40
    for start, length in ((0, 1), (3, 4), (11, 2), (len(continuation) - 2, 2)):
        stop = continuation[start : start + length]
        answer = client.post_json("/generate", BODY | {"stop": ["\x01 never", stop]}).json()
        assert answer["text"] == "the people" + continuation[: continuation.index(stop)]
        assert answer["words"] == whole["words"][: len(answer["words"])]
        assert len(answer["words"]) < 40
    assert client.post_json("/generate", BODY | {"stop": ["the people"]}).json()["text"].startswith("the people ")


@pytest.mark.parametrize(
    "fields",
    [{"stop": [""]}, {"stop": "."}, {"stop": ["a\x00"]}, {"stop": ["a" * 101]}, {"stop": ["a"] * 17},
     {"stop": None}, {"stream": 1}, {"stream": "true"}, {"stream": None}, {"generate": 0, "stream": True},
     {"topk": -1, "stream": True}],
)  # fmt: skip
def test_wrong_fields_are_refused_before_a_stream_begins(client: Client, fields: dict[str, object]) -> None:
    response = client.post_json("/generate", BODY | fields)
    assert response.status_code == 422
    assert response.json()["detail"].startswith(next(iter(fields)))
