"""The table of commands and the exit codes."""

import errno
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lstm_lm import __version__
from lstm_lm.cli import environment
from lstm_lm.cli.command_help import command_help
from lstm_lm.cli.main import COMMANDS, Command, main
from lstm_lm.errors import DataError, TrainingInterruptedError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A command ``try`` whose function is the module's ``run``."""
    module = ModuleType("made_up_command")
    monkeypatch.setitem(sys.modules, "made_up_command", module)
    monkeypatch.setitem(COMMANDS, "try", Command("made_up_command:run", "Try.", overrides=True))
    return module


def _raiser(error: BaseException) -> object:
    def run(arguments: list[str]) -> None:
        raise error

    return run


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        for name, command in COMMANDS.items():
            assert f"  {name}" in text
            assert command.help in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lstm-lm {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lstm_lm.cli.main import main; main(['--help']); main(['train', '--help']);"
        "print([name for name in ('torch', 'lightning', 'hydra', 'numpy', 'rich', 'typer') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["train", "eval", "export", "data"])
def test_a_commands_help_names_its_groups(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out == command_help(command) + "\n"
    assert "Examples:" in command_help(command)


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


def test_wrong_flags_are_wrong_usage() -> None:
    assert main(["train", "--nope"]) == 2


def test_an_error_of_ours_is_one_message(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    command.run = _raiser(DataError("corpus/train.txt: is empty"))  # type: ignore[attr-defined]
    assert main(["try"]) == 1
    assert capsys.readouterr().err == "error: corpus/train.txt: is empty\n"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (TrainingInterruptedError(15, Path("last.ckpt")), 143, "stopped by a signal before anything was saved"),
        (TrainingInterruptedError(2, Path("last.ckpt")), 130, "stopped by a signal before anything was saved"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "outputs"), 1, "error: outputs: No space left on device"),
        (ModuleNotFoundError("no torch", name="torch"), 1, "pip install 'lstm-lm[train]'"),
        (ModuleNotFoundError("no fastapi", name="fastapi.responses"), 1, "pip install 'lstm-lm[serve]'"),
        (SystemExit(7), 7, ""),
        (SystemExit(None), 0, ""),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, text: str, command: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    command.run = _raiser(error)  # type: ignore[attr-defined]
    assert main(["try"]) == code
    assert text in capsys.readouterr().err


def test_a_stopped_run_names_its_checkpoint_as_it_has_to_be_typed(
    command: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = tmp_path / "lr=1 it's" / "last.ckpt"
    last.parent.mkdir()
    last.touch()
    command.run = _raiser(TrainingInterruptedError(15, last))  # type: ignore[attr-defined]
    assert main(["try"]) == 143
    (typed,) = [word for word in shlex.split(capsys.readouterr().err) if word.startswith("resume=")]
    assert OverridesParser.create().parse_override(typed).value() == str(last)


@pytest.mark.parametrize("error", [ValueError("ours"), ModuleNotFoundError("x", name="lstm_lm.x"), OSError(errno.EIO)])
def test_a_defect_keeps_its_traceback(error: Exception, command: ModuleType) -> None:
    command.run = _raiser(error)  # type: ignore[attr-defined]
    with pytest.raises(type(error)):
        main(["try"])


class TestEnvironment:
    @pytest.mark.parametrize("command", ["train", "eval"])
    def test_verbose_shows_what_is_in_force_wherever_it_stands(
        self, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("OMP_WAIT_POLICY", "as I like it")
        monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)
        assert main([command, "split=nowhere", "--verbose", "seed=-1"]) == 1
        shown, told = capsys.readouterr()
        assert "--verbose" not in told
        for name in (*environment.OPENMP, *environment.GLIBC, "threads, cores"):
            assert name in shown
        assert "as I like it" in shown
        assert "not set" in shown
        assert re.search(r"fp32 \d+\.\d ms, bf16 \d+\.\d ms", shown)
        assert "--verbose" in command_help(command)

    @pytest.fixture
    def started_again(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
        started: list[dict[str, str]] = []
        monkeypatch.setattr(environment.os, "execve", lambda _path, _words, env: started.append(env))
        monkeypatch.setattr(environment.platform, "libc_ver", lambda: ("glibc", "2.36"))
        for name in (environment.GUARD, *environment.OPENMP, *environment.GLIBC):
            monkeypatch.setenv(name, "x")
            monkeypatch.delenv(name)
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        return started

    def test_it_is_set_once(self, started_again: list[dict[str, str]]) -> None:
        environment.configure_process()
        environment.configure_process()
        (env,) = started_again
        assert env.items() >= (environment.OPENMP | environment.GLIBC).items()
        assert environment.GUARD in env

    def test_what_the_user_set_stays(
        self, started_again: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_WAIT_POLICY", "active")
        monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
        environment.configure_process()
        assert started_again[0]["OMP_WAIT_POLICY"] == "active"
        assert "GOMP_SPINCOUNT" not in started_again[0]
        assert started_again[0]["MALLOC_TOP_PAD_"] == "1"

    def test_elsewhere_the_process_is_not_started_again(
        self, started_again: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(environment.platform, "libc_ver", lambda: ("", ""))
        environment.configure_process()
        assert not started_again
        assert environment.os.environ.items() >= environment.OPENMP.items()
