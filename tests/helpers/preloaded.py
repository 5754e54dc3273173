"""``lstm-lm`` in a process of its own that begins with torch and Lightning imported.

Importing them takes 5 s of CPU time, which most commands of the tests would spend again. A server imports them once and
forks for every command, which gets its own working directory, environment, output and signals. What a command does when
it starts (``configure_process``, the imports themselves) is not tested by such a command: tests/test_end_to_end.py and
tests/packaging start real ones.
"""

import atexit
import gc
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

_MODULES = ("lstm_lm.training.run", "lstm_lm.report.page", "lstm_lm.cli.hydra_run", "lstm_lm.export.bundle_export")
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def command(*arguments: str) -> list[str]:
    """A command line that runs ``lstm-lm`` with these arguments, or Python code after ``-c``."""
    # without site-packages the client starts in 20 ms
    return [sys.executable, "-S", "-E", __file__, server_address(), *arguments]


@cache
def server_address() -> str:
    """The socket of the server of this process, which is started by the first command and ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="preloaded-")
    address = f"{folder.name}/socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    # OpenBLAS would start threads, which a fork loses
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(listener.fileno())],
        env=environment,
        stdin=subprocess.PIPE,
        pass_fds=[listener.fileno()],
    )
    listener.close()

    def stop() -> None:
        server.kill()
        server.wait()
        folder.cleanup()

    atexit.register(stop)
    return address


def run(*arguments: str, cwd: Path, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``lstm-lm`` in the folder ``cwd`` and check its exit status."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == expect, f"exit {done.returncode} of lstm-lm {arguments}\n{done.stdout}\n{done.stderr}"
    return done


def executable(folder: Path) -> Path:
    """Write an executable ``lstm-lm`` into ``folder``, for a shell whose PATH begins with it."""
    program = folder / "lstm-lm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" "{server_address()}" "$@"\n')
    program.chmod(0o755)
    return program


def _request(address: str, arguments: Sequence[str]) -> int:
    """Run a command in the server, with the working directory, environment and files of this process."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        request = json.dumps({"arguments": list(arguments), "cwd": str(Path.cwd()), "environment": dict(os.environ)})
        content = request.encode()
        socket.send_fds(connection, [len(content).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(content)
        stream = connection.makefile("rb")
        process = int(stream.readline())
        for number in _FORWARDED:
            signal.signal(number, lambda received, _frame: os.kill(process, received))
        status = stream.readline()
        return int(status) if status else 1


def _serve(listener: socket.socket) -> None:
    """Fork for every connection, until the parent ends; returns in the process of a command, ready to run it."""
    for module in _MODULES:
        importlib.import_module(module)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    gc.collect()
    gc.freeze()
    while True:
        connection, _ = listener.accept()
        # the child waits for the command, so that the server does not
        if os.fork():
            connection.close()
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            continue
        listener.close()
        _run_and_report(connection)


def _run_and_report(connection: socket.socket) -> None:
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    stream = connection.makefile("rb")
    request = json.loads(stream.read(int.from_bytes(head, "big")))
    process = os.fork()
    if process:
        connection.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        code = os.waitstatus_to_exitcode(status)
        connection.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
        os._exit(0)
    stream.close()
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    arguments = request["arguments"]
    _become_new_process(arguments, request["cwd"], request["environment"])
    if arguments[:1] == ["-c"]:
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        sys.exit()
    from lstm_lm.cli.main import main

    sys.exit(main())


def _become_new_process(arguments: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder  # as with python -m
    sys.path[1:1] = [part for part in environment.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.argv = ["lstm-lm", *arguments]
    import numpy as np

    random.seed()
    np.random.seed()  # noqa: NPY002  # a new process has other numbers


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        _serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        sys.exit(_request(sys.argv[1], sys.argv[2:]))
