"""The commands predict and generate, in this process."""

import io
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.small_models import write_small_bundle

from lstm_lm.cli.main import main
from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.loading import load_model

Capture = pytest.CaptureFixture[str]
Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_small_bundle(tmp_path_factory.mktemp("commands") / "mine"))


@pytest.fixture(scope="module")
def engine(model: str) -> Engine:
    return load_model(model).engine()


@pytest.fixture
def run(model: str, capsys: Capture) -> Run:
    def run(command: str, *options: str, expect: int = 0) -> tuple[str, str]:
        assert main([command, "--model", model, *options]) == expect
        return capsys.readouterr()

    return run


def test_predict_prints_a_table_and_unknown_words(run: Run, engine: Engine) -> None:
    out, err = run("predict", "--text", "I zork", "--k", "3")
    suggestions = engine.predict("I zork", 3).suggestions
    for suggestion in suggestions:
        assert suggestion.word in out
        assert f"{100 * suggestion.probability:.2f} %" in out
    assert "zork" in err


def test_predict_prints_json(run: Run, engine: Engine) -> None:
    result = json.loads(run("predict", "--text", "I zork", "--k", "3", "--prefix", "Th", "--json")[0])
    expected = engine.predict("I zork", 3, "Th")
    assert [s["word"] for s in result["suggestions"]] == [s.word for s in expected.suggestions]
    assert result["unknown_words"] == ["zork"]


def test_predict_passes_every_option_to_the_engine(run: Run, engine: Engine) -> None:
    options = shlex.split(
        "--text 'the Zork of' --prefix Z --words-only --k 4 --allow the,zork --allow zyzzyva --deny cat"
    )
    cache = shlex.split("--cache --cache-weight 0.3 --cache-theta 0.5 --cache-window 2")
    arguments = {"words_only": True, "allow": ["the", "zork", "zyzzyva"], "deny": ["cat"]}
    without_cache, with_cache = (
        json.loads(run("predict", *given, "--json")[0]) for given in (options, [*options, *cache])
    )
    assert without_cache["suggestions"] == []
    expected = engine.predict("the Zork of", 4, "Z", cache=CacheConfig(0.3, 0.5, 2), **arguments)
    assert [(s["word"], s["probability"]) for s in with_cache["suggestions"]] == [("Zork", 1.0)]
    assert [s.word for s in expected.suggestions] == ["Zork"]
    assert (
        "cache.weight: must be from 0 to 1" in run("predict", *options, "--cache", "--cache-weight", "2", expect=1)[1]
    )


def test_personal_words_are_those_of_a_request(run: Run, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "words.json"
    own = {"user_words": {"Zyzzyva": 3, "Zork": 2.5}, "recent": ["the Zork of London"], "deny": ["zork"]}
    file.write_text(json.dumps(own), encoding="utf-8")
    result = json.loads(run("predict", "--text", "I saw Z", "--split", "--personal", str(file), "--json")[0])
    expected = engine.predict("I saw Z", split=True, **own)  # type: ignore[arg-type]
    assert [s["word"] for s in result["suggestions"]] == [s.word for s in expected.suggestions] == ["Zyzzyva"]
    file.write_text("{}")
    run("predict", "--text", "I saw", "--personal", str(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "words.json (No such file or directory); give a JSON file"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object; give one with user_words, recent, deny"),
        ('{"words": {}}', "words: unknown field; use user_words, recent, deny"),
        ('{"user_words": ["a"]}', "user_words: must be an object with a count for each word"),
        ('{"user_words": {"a": true}}', "user_words: must be an object with a count for each word"),
        ('{"user_words": {"a b": 1}}', "user_words: each must be one word"),
        ('{"user_words": {"a": -1}}', "user_words: each count must be above 0"),
        ('{"recent": "a"}', "recent: must be a list of strings"),
        ('{"deny": [1]}', "deny: must be a list of strings"),
    ],
)
def test_wrong_file_of_personal_words_is_a_clear_error(
    run: Run, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "words.json"
    if content is not None:
        file.write_text(content)
    assert message in run("predict", "--text", "I", "--personal", str(file), expect=1)[1].replace("\n", " ")


def test_text_is_read_from_standard_input(run: Run, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(b"I want\n")

    monkeypatch.setattr(sys, "stdin", Input)
    result = json.loads(run("predict", "--text", "-", "--json")[0])
    assert result["suggestions"][0]["word"] == engine.predict("I want").suggestions[0].word
    Input.buffer = io.BytesIO(b"\xff\xfe")
    assert "text: is not UTF-8" in run("predict", "--text", "-", expect=1)[1]
    assert "text: is not UTF-8" in run("predict", "--text", "a\udcff", expect=1)[1]


EVERY_OPTION = shlex.split(
    "--text 'The people that' --generate 20 --preset balanced --strategy sample --temperature 0.9 --topk 50 "
    "--top-p 0.99 --seed 7 --ban-unk --ban-tokens '\",@-@' --repeat-penalty 1.2 --repeat-window 80 --stop-eos"
)


def test_generate_passes_every_option_to_the_engine(run: Run, engine: Engine) -> None:
    sampling = SamplingConfig(
        strategy="sample", temperature=0.9, top_k=50, top_p=0.99, seed=7, ban_unk=True, ban_tokens=['"', "@-@"],
        repeat_penalty=1.2, repeat_window=80, stop_eos=True,
    )  # fmt: skip
    expected = engine.generate("The people that", sampling, 20)
    out, err = run("generate", *EVERY_OPTION)
    assert (out, err) == (expected.text + "\n", "")
    result = json.loads(run("generate", *EVERY_OPTION, "--json")[0])
    assert (result["text"], tuple(result["words"]), result["seed"]) == (expected.text, expected.words, 7)
    assert result["sampling"]["ban_tokens"] == ['"', "@-@"]


def test_missing_options_come_from_the_preset(run: Run) -> None:
    shown = json.loads(run("generate", "--preset", "creative", "--seed", "3", "--generate", "2", "--json")[0])
    assert shown["sampling"]["temperature"] == 1.2
    default = json.loads(run("generate", "--no-ban-unk", "--no-stop-eos", "--generate", "2", "--json")[0])
    assert default["sampling"]["top_k"] == 20
    assert default["sampling"]["ban_unk"] is False


def test_ban_tokens_can_be_repeated_and_contain_a_comma(run: Run) -> None:
    options = ("--ban-tokens", ",", "--ban-tokens", "@,@,the", "--generate", "1", "--json")
    assert json.loads(run("generate", *options)[0])["sampling"]["ban_tokens"] == [",", "@,@", "the"]


def test_random_seed_is_printed_and_repeats_the_text(run: Run) -> None:
    out, err = run("generate", "--text", "I want", "--generate", "8", "--strategy", "sample")
    seed = err.split("--seed ")[1].split()[0]
    again, silent = run("generate", "--text", "I want", "--generate", "8", "--strategy", "sample", "--seed", seed)
    assert (again, silent) == (out, "")
    assert "--seed" not in run("generate", "--text", "I", "--generate", "2", "--preset", "greedy")[1]


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (("--temperature", "-1", "--topk", "-1"), ("temperature: must be above 0", "top_k: must not be negative")),
        (("--temperature", "nan"), ("temperature: must be a finite number",)),
        (("--generate", "0"), ("generate: must be at least 1 (got 0)",)),
        (("--preset", "wild"), ("preset: unknown (got 'wild'); use one of greedy, balanced, creative",)),
        (("--strategy", "beam"), ("strategy: unknown (got 'beam')",)),
        (("--ban-tokens", "teh"), ("ban_tokens: not in the vocabulary (got 'teh'); did you mean 'the'",)),
        (("--seed", "-1"), ("seed: must not be negative",)),
    ],
)
def test_invalid_value_is_a_clear_error(run: Run, options: tuple[str, ...], messages: tuple[str, ...]) -> None:
    out, err = run("generate", *options, expect=1)
    assert out == ""
    assert err.startswith("error: ")
    assert all(message in err for message in messages)


def test_wrong_usage_exits_with_2(run: Run, capsys: Capture) -> None:
    run("generate", "--temperature", "warm", expect=2)
    run("predict", expect=2)
    assert main(["predict", "--model", "nowhere", "--text", "a"]) == 1
    assert "nowhere: there is no such file or folder" in capsys.readouterr().err
