"""The access log: what it has, and that it never has text."""

import io
import json
import logging
import logging.config
import re
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from helpers.service_client import Client

from lstm_lm.inference.cpus import usable_cpus
from lstm_lm.serving import create_app
from lstm_lm.serving.access_log import logging_config
from lstm_lm.serving.settings import Settings, read_settings

TEXT = "xyzzy-typed-by-a-person"


@pytest.fixture(params=["text", "json"])
def lines(request: pytest.FixtureRequest) -> Any:
    """Configures the service's logging and returns the lines so far."""
    stream = io.StringIO()
    config = logging_config(request.param)
    config["handlers"]["stderr"]["stream"] = stream
    logging.config.dictConfig(config)
    yield request.param, lambda: stream.getvalue().splitlines()
    for name in ("lstm_lm", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate, logger.level = [], True, logging.NOTSET


def test_each_request_is_one_line_without_its_text(lines: Any, tiny_bundle: Path, portal: BlockingPortal) -> None:
    kind, logged = lines
    client = Client(create_app(Settings(bundle=tiny_bundle)), portal)
    body = {"text": TEXT, "user_words": {TEXT: 1}, "recent": [TEXT], "deny": [TEXT], "prefix": "t"}
    assert client.request("POST", "/predict", json=body, headers={"X-Request-ID": "id-1"}).status_code == 200
    assert client.post_json("/predict", {"text": 1}).status_code == 422
    client.get(f"/nothing?text={TEXT}")
    first, second, third = logged()
    assert TEXT not in "".join(logged())
    if kind == "json":
        line = json.loads(first)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
        assert 0 < line.pop("milliseconds") < 60_000
        line.pop("client")
        line.pop("message")
        assert line == {
            "level": "INFO", "logger": "lstm_lm.access", "request_id": "id-1", "method": "POST", "path": "/predict",
            "status": 200,
        }  # fmt: skip
        assert [json.loads(line)["status"] for line in (second, third)] == [422, 404]
    else:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z INFO id-1 \S+ POST /predict 200 [\d.]+ ms", first)
        assert " 422 " in second
        assert third.split()[5:7] == ["/nothing", "404"]


def test_the_access_log_can_be_turned_off(lines: Any, tiny_bundle: Path, portal: BlockingPortal) -> None:
    client = Client(create_app(Settings(bundle=tiny_bundle, access_log=False)), portal)
    assert client.get("/health").headers["x-request-id"]
    assert lines[1]() == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, None),
        ("max 100000\n", None),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("99999900000 100000\n", None),
    ],
)
def test_the_default_threads_are_the_cpus_that_the_process_may_use(
    content: str | None, expected: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "cpu.max"
    if content is not None:
        path.write_text(content)
    assert usable_cpus(path) == (usable_cpus(tmp_path / "absent") if expected is None else expected)


def test_settings_of_the_server_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "BUNDLE": "x", "ROOT_PATH": "/a/b/", "KEEP_ALIVE_SECONDS": "30", "THREADS": "3", "ACCESS_LOG": "false",
        "LOG_FORMAT": "json",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"LSTM_LM_{name}", value)
    settings = read_settings()
    assert (settings.root_path, settings.keep_alive_seconds, settings.threads) == ("/a/b", 30, 3)
    assert (settings.access_log, settings.log_format) == (False, "json")
