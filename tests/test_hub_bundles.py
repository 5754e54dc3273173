"""Bundles on the hub: the real client, against a stand-in on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.hub_stand_in import TOKEN, hub_stand_in
from helpers.small_models import write_small_bundle
from helpers.waiting import DEADLINE

from lstm_lm.errors import BundleError
from lstm_lm.hub import download, push
from lstm_lm.loading import load_model
from lstm_lm.training.config import TrainConfig

# commands in one process, since the client reads its environment when it is imported
COMMANDS = """
import contextlib, io, json, sys
from lstm_lm.cli.main import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(json.loads(line))
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""
PREDICT = ["predict", "--text", "I want", "--k", "3", "--json", "--model"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "mine")


def commands(url: str, home: Path, *lines: list[str], token: str = TOKEN) -> list[tuple[int, str, str]]:
    """Status, output and errors of commands with the hub at ``url``."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input="\n".join(map(json.dumps, lines)),
        env={**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_TOKEN": token, "HF_HUB_ETAG_TIMEOUT": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_a_published_bundle_is_read_from_its_address_and_later_without_the_hub(bundle: Path, tmp_path: Path) -> None:
    def suggestions(text: str) -> Any:
        return [each["word"] for each in json.loads(text)["suggestions"]]

    with hub_stand_in() as hub:
        (status, out, _), *_ = commands(hub.url, tmp_path / "home", ["push", str(bundle), "me/mine"])
        assert status == 0
        assert "--model hf://me/mine" in out
        files = hub.models["me/mine"]["main"]
        assert files == {file.name: file.read_bytes() for file in bundle.iterdir()}
        first = next(name for name in hub.models["me/mine"] if name != "main")
        # people edit the card on the hub: the bundle is still read, and the next push keeps the card
        hub.commit("me/mine", {"README.md": b"edited"})
        answers = commands(
            hub.url,
            tmp_path / "home",
            [*PREDICT, "hf://me/mine"],
            [*PREDICT, f"hf://me/mine@{first}"],
            ["push", str(bundle), "me/mine"],
            [*PREDICT, "hf://me/mine@v9"],
            [*PREDICT, "hf://me/other"],
        )
        assert hub.models["me/mine"]["main"]["README.md"] == b"edited"
    expected = [each.word for each in load_model(bundle).engine().predict("I want", 3).suggestions]
    assert suggestions(answers[0][1]) == suggestions(answers[1][1]) == expected
    assert [status for status, _, _ in answers] == [0, 0, 0, 1, 1]
    assert "no such revision" in answers[3][2]
    assert "hf://me/other: the hub refuses it (status 404)" in answers[4][2]
    # the hub is gone
    cached, missing = commands(hub.url, tmp_path / "home", [*PREDICT, "hf://me/mine"], [*PREDICT, "hf://me/other"])
    assert suggestions(cached[1]) == expected
    assert missing[0] == 1
    assert "hf://me/other: the Hugging Face hub is unreachable" in missing[2]


def test_without_a_token_that_may_write_nothing_is_published(bundle: Path, tmp_path: Path) -> None:
    with hub_stand_in() as hub:
        ((status, _, err),) = commands(hub.url, tmp_path / "home", ["push", str(bundle), "me/mine"], token="other")
        assert hub.models == {}
    assert status == 1
    assert "hf auth login" in err


@pytest.mark.parametrize("address", ["hf://mine", "hf://a/b/c", "hf://me/mine@"])
def test_an_address_needs_a_user_and_a_name(address: str) -> None:
    with pytest.raises(BundleError, match="is not an address on the hub; give hf://USER/NAME"):
        download(address)
    with pytest.raises(BundleError, match="is not an address"):
        load_model(Path(address))  # a command's option is a path


def test_a_run_may_begin_with_a_model_of_the_hub() -> None:
    assert not [problem for problem in TrainConfig(init_from="hf://me/mine@v1").problems() if "init_from" in problem]


def test_only_a_whole_bundle_is_published(bundle: Path) -> None:
    with pytest.raises(BundleError, match="is not a name on the hub"):
        push(bundle, "mine")
    (bundle / "vocabulary.json").write_text("{}")
    with pytest.raises(BundleError, match=r"vocabulary\.json was changed after the export"):
        push(bundle, "me/mine")
