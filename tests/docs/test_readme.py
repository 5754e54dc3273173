"""What the README says is run and looked up.

Its ``bash`` and ``python`` blocks run in order, as they stand, in one folder that holds a small corpus in ``corpus``.
A comment before a block may change that: ``<!-- test: skip REASON -->`` leaves it out; ``<!-- test: service -->`` keeps
it running for the blocks that follow, on a free port in place of 8000.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers.real_commands import served, write_corpus

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"(?:^<!-- test: (?P<mark>.*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the comment before it (``skip REASON``, ``service`` or nothing)."""

    language: str
    code: str
    mark: str


def blocks() -> list[Block]:
    found = BLOCK.finditer(README.read_text(encoding="utf-8"))
    return [Block(match["language"], match["code"], match["mark"] or "") for match in found]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_run_in_order(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    write_corpus(tmp_path / "corpus")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    address = ""
    with ExitStack() as service:
        for block in blocks():
            if block.language not in ("bash", "python") or block.mark.startswith("skip "):
                continue
            if block.mark == "service":
                service.close()
                # a shell joins a line to the next one, shlex does not
                command = ["env", *shlex.split(block.code.replace("\\\n", "").replace("8000", "0"))]
                client = service.enter_context(served(command, tmp_path, {"PATH": environment["PATH"]}))
                address = str(client.base_url).rstrip("/")
                continue
            code = block.code.replace("http://127.0.0.1:8000", address)
            # curl ends with 0 whatever the status is, unless told otherwise
            code = code.replace("curl -s ", "curl -s --fail-with-body --noproxy '*' ")
            command = (
                ["bash", "-euo", "pipefail", "-c", code] if block.language == "bash" else [sys.executable, "-c", code]
            )
            done = subprocess.run(
                command,
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.code}\nexit {done.returncode}\n{done.stdout}"


def test_every_marked_block_is_marked_with_a_known_word() -> None:
    for block in blocks():
        assert re.fullmatch(r"skip .{10,}|service|", block.mark), block.mark


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_relative_link_and_picture_is_there(page: str) -> None:
    targets = [link for link in LINK.findall((ROOT / page).read_text(encoding="utf-8")) if not urlsplit(link).scheme]
    for target in targets:
        assert (ROOT / target.partition("#")[0]).exists(), f"{page} links to {target}"


def test_the_config_tree_lists_every_option() -> None:
    (tree,) = (block.code for block in blocks() if block.language == "text")
    listed = {line.split()[0]: line.split()[1:] for line in tree.splitlines()}
    shipped: dict[str, list[str]] = {}
    for file in sorted((ROOT / "configs").glob("*/*.yaml")):
        shipped.setdefault(file.parent.name, []).append(file.stem)
    assert listed == shipped
