"""A streamed generation equals the complete one, and a stopped one is its beginning."""

import json

import pytest
from helpers.service_client import Client

BODY = {"text": "the people", "generate": 40, "seed": 5}


def stream_events(client: Client, body: dict[str, object]) -> list[tuple[str, dict[str, object]]]:
    response = client.post_json("/generate", body | {"stream": True})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields.get("event", "message"), json.loads(fields["data"])))
    return events


@pytest.mark.parametrize("stop", [[], ["the"], [" on", "is "], ["\n"], ["no such string"]])
def test_streamed_pieces_join_to_the_complete_text(client: Client, stop: list[str]) -> None:
    for seed in range(5):
        body = BODY | {"seed": seed, "stop": stop}
        *pieces, (last, complete) = stream_events(client, body)
        assert {name for name, _ in pieces} <= {"message"}
        assert last == "done"
        assert "the people" + "".join(str(data["piece"]) for _, data in pieces) == complete["text"]
        assert complete == client.post_json("/generate", body).json()


def test_text_ends_before_a_stop_string(client: Client) -> None:
    complete = client.post_json("/generate", BODY).json()
    continuation = complete["text"].removeprefix("the people")
    assert len(complete["words"]) == 40
    for start, length in ((0, 1), (3, 4), (11, 2), (len(continuation) - 2, 2)):
        stop = continuation[start : start + length]
        stopped = client.post_json("/generate", BODY | {"stop": ["\x01 never", stop]}).json()
        assert stopped["text"] == "the people" + continuation[: continuation.index(stop)]
        assert stopped["words"] == complete["words"][: len(stopped["words"])]
        assert len(stopped["words"]) < 40
    assert client.post_json("/generate", BODY | {"stop": ["the people"]}).json()["text"].startswith("the people ")


@pytest.mark.parametrize(
    "fields",
    [{"stop": [""]}, {"stop": ""}, {"stop": ["a\x00"]}, {"stop": ["a" * 101]}, {"stop": ["a"] * 17},
     {"stop": 1}, {"stream": 1}, {"stream": "true"}, {"generate": 0, "stream": True},
     {"topk": -1, "stream": True}],
)  # fmt: skip
def test_wrong_field_gets_422_instead_of_a_stream(client: Client, fields: dict[str, object]) -> None:
    response = client.post_json("/generate", BODY | fields)
    assert response.status_code == 422
    assert response.json()["detail"].startswith(next(iter(fields)))
