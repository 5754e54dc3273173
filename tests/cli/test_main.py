"""Command table, exit codes and process settings."""

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
    """Registers a command ``try`` that runs the module's ``run``."""
    module = ModuleType("fake_command")
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(COMMANDS, "try", Command("fake_command:run", "Try.", uses_hydra=True))
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


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys; from lstm_lm.cli.main import main; main(['--help']); main(['train', '--help']);"
        "print([name for name in ('torch', 'lightning', 'hydra', 'numpy', 'rich', 'typer') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["train", "eval", "export", "data"])
def test_command_help_is_printed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out == command_help(command) + "\n"
    assert "Examples:" in command_help(command)


def test_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "did you mean train?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "meant"), [("LSTM_LM_CAHCE", "LSTM_LM_CACHE"), ("LSTM_LM_CELS", "LSTM_LM_CELLS"), ("LSTM_LM_CELLS", None)]
)
def test_misspelt_variable_is_named(
    name: str, meant: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "somewhere")
    monkeypatch.setenv("LSTM_LM_BUNDLE", "exports/mine")  # of the service
    main(["eval", "--help"])
    expected = f"warning: {name}: is not used; did you mean {meant}?\n" if meant else ""
    assert capsys.readouterr().err == expected


def test_unknown_flag_exits_with_2() -> None:
    assert main(["train", "--nope"]) == 2


def test_own_error_prints_one_message(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    command.run = _raiser(DataError("corpus/train.txt: is empty"))  # type: ignore[attr-defined]
    assert main(["try"]) == 1
    assert capsys.readouterr().err == "error: corpus/train.txt: is empty\n"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (TrainingInterruptedError(15, Path("last.ckpt")), 143, "stopped by a signal before a checkpoint was saved"),
        (TrainingInterruptedError(2, Path("last.ckpt")), 130, "stopped by a signal before a checkpoint was saved"),
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


def test_interrupted_run_prints_a_resume_override_that_can_be_pasted(
    command: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "lr=1 it's"
    last = run / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    command.run = _raiser(TrainingInterruptedError(15, last))  # type: ignore[attr-defined]
    assert main(["try"]) == 143
    (override,) = [word for word in shlex.split(capsys.readouterr().err) if word.startswith("resume=")]
    assert OverridesParser.create().parse_override(override).value() == str(run)


@pytest.mark.parametrize("error", [ValueError("a bug"), ModuleNotFoundError("x", name="lstm_lm.x"), OSError(errno.EIO)])
def test_bug_keeps_its_traceback(error: Exception, command: ModuleType) -> None:
    command.run = _raiser(error)  # type: ignore[attr-defined]
    with pytest.raises(type(error)):
        main(["try"])


class TestProcessSettings:
    @pytest.mark.parametrize("command", ["train", "eval"])
    def test_verbose_prints_effective_settings_at_any_position(
        self, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("OMP_WAIT_POLICY", "custom")
        monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)
        assert main([command, "split=nowhere", "--verbose", "seed=-1"]) == 1
        out, err = capsys.readouterr()
        assert "--verbose" not in err
        for name in (*environment.OPENMP, *environment.GLIBC, "threads, cores"):
            assert name in out
        assert "custom" in out
        assert "not set" in out
        assert "--verbose" in command_help(command)

    @pytest.fixture
    def restarts(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
        environments: list[dict[str, str]] = []
        monkeypatch.setattr(environment.os, "execve", lambda _path, _words, env: environments.append(env))
        monkeypatch.setattr(environment.platform, "libc_ver", lambda: ("glibc", "2.36"))
        for name in (environment.GUARD, *environment.OPENMP, *environment.GLIBC):
            monkeypatch.setenv(name, "x")
            monkeypatch.delenv(name)
        monkeypatch.delitem(sys.modules, "torch", raising=False)
        return environments

    def test_process_restarts_once(self, restarts: list[dict[str, str]]) -> None:
        environment.configure_process()
        environment.configure_process()
        (env,) = restarts
        assert env.items() >= (environment.OPENMP | environment.GLIBC).items()
        assert environment.GUARD in env

    def test_user_settings_are_kept(self, restarts: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_WAIT_POLICY", "active")
        monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
        environment.configure_process()
        assert restarts[0]["OMP_WAIT_POLICY"] == "active"
        assert "GOMP_SPINCOUNT" not in restarts[0]
        assert restarts[0]["MALLOC_TOP_PAD_"] == "1"

    @pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "PASSIVE"), ("GOMP_SPINCOUNT", "5")])
    def test_each_openmp_variable_that_is_unset_is_set(
        self, restarts: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        monkeypatch.setenv(name, value)
        environment.configure_process()
        assert restarts[0].items() >= (environment.OPENMP | {name: value}).items()

    def test_without_glibc_the_process_does_not_restart(
        self, restarts: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(environment.platform, "libc_ver", lambda: ("", ""))
        environment.configure_process()
        assert not restarts
        assert environment.os.environ.items() >= environment.OPENMP.items()

    def test_deployments_wait_as_the_commands_do(self) -> None:
        folder = Path(__file__).parents[2] / "scripts" / "deploy"
        # without the tags of XML
        texts = [re.sub(r"<[^>]*>", " ", file.read_text()) for file in folder.rglob("*") if file.is_file()]
        waiting = [text for text in texts if "OMP_WAIT_POLICY" in text]
        assert waiting
        for text in waiting:  # passive waiting without a spin count loses the second thread
            for name, value in environment.OPENMP.items():
                assert re.search(rf"{name}\W+{value}\b", text)
