"""Words of a corpus reach a terminal as text, whatever they hold and whatever it can show."""

import io
import json
from pathlib import Path

import pytest
from helpers.small_models import small_network, write_plain_bundle

from lstm_lm.cli.console import print_key_values, print_rows
from lstm_lm.cli.main import main
from lstm_lm.cli.terminal import printable
from lstm_lm.text.vocabulary import Vocabulary

ESCAPE = "\x1b]0;owned\x07"
WORDS = ["<unk>", "<eos>", f"{ESCAPE}red", "naïve", "日本", "\x9b31m"] + [f"w{i}" for i in range(43)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal") / "mine"
    write_plain_bundle(folder, vocabulary=Vocabulary(WORDS, [len(WORDS) - i for i in range(len(WORDS))]))
    assert small_network().vocab_size == len(WORDS)
    return folder


def test_printable_spells_control_codes_and_keeps_the_rest() -> None:
    assert printable("a\x1b[2Jb\x07\x9b\x7f\r") == "a\\x1b[2Jb\\x07\\x9b\\x7f\\x0d"
    assert printable("naïve 日本\n\tnext") == "naïve 日本\n\tnext"


@pytest.mark.parametrize(
    "options",
    [
        ["predict", "--text", f"{ESCAPE} a", "--k", "46"],
        ["generate", "--text", f"{ESCAPE} a", "--generate", "60", "--seed", "1", "--strategy", "sample"],
        ["predict", "--text", "a", "--allow", f"{ESCAPE}no"],
        ["generate", "--text", "a", "--preset", ESCAPE],
    ],
)
def test_no_control_code_of_a_word_reaches_the_terminal(
    options: list[str], bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([options[0], "--model", str(bundle), *options[1:]])
    shown = "".join(capsys.readouterr())
    assert shown.strip()
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)


def test_tables_spell_control_codes(capsys: pytest.CaptureFixture[str]) -> None:
    print_key_values("Table", [("sample", ESCAPE)])
    print_rows("Table", ["word"], [[ESCAPE]])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["predict", "generate"])
@pytest.mark.parametrize("as_json", [True, False])
def test_an_ascii_terminal_gets_every_word(
    command: str, as_json: bool, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--k", "46"] if command == "predict" else ["--generate", "60", "--seed", "1", "--strategy", "sample"]
    options += ["--json"] if as_json else []
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")  # as with PYTHONIOENCODING=ascii
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    assert main([command, "--model", str(bundle), "--text", "naïve 日本 é", *options]) == 0
    terminal.flush()
    shown = terminal.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    if as_json:
        assert "naïve" in json.dumps(json.loads(shown), ensure_ascii=False)
    else:
        assert "na\\xefve" in shown
