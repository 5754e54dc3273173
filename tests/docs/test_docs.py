"""The commands of README.md and docs/ run, their links lead somewhere, and the settings that they name exist.

The ``bash`` and ``python`` blocks of a page run in order, unchanged, in a folder with a small corpus in ``corpus``. The
pages in docs/ continue the README's first run: they also find ``outputs/first`` and ``exports/first``. A comment before
a block changes this: ``<!-- test: skip REASON -->`` leaves it out; ``<!-- test: service -->`` keeps it running for the
blocks that follow, on a free port in place of 8000.
"""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import lightning as L
import pytest
from helpers import preloaded
from helpers.real_commands import served, write_corpus

from lstm_lm.cli.command_help import group_options
from lstm_lm.config.compose import OPEN
from lstm_lm.config.schema import SCHEMAS
from lstm_lm.config.validation import check
from lstm_lm.serving.settings import ENV_PREFIX, Settings
from lstm_lm.settings import all_settings

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))
OTHER_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
REPOSITORY = "https://github.com/lstm-lm/lstm-lm"
FILES = (f"{REPOSITORY}/blob/main/", "https://raw.githubusercontent.com/lstm-lm/lstm-lm/main/")
FILE_SUFFIXES = {"ckpt", "json", "md", "onnx", "py", "safetensors", "txt", "yaml"}
OTHER_VARIABLES = {"CACHE", "CELLS", "ENVIRONMENT"}  # of the commands, not of the service

BLOCK = re.compile(r"(?:^<!-- test: (?P<mark>.*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
SETTING = re.compile(r"\+?([a-z_]+(?:\.[a-z0-9_]+)*)(?:=(.*))?")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the comment before it (``skip REASON``, ``service`` or nothing)."""

    language: str
    code: str
    mark: str


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    return [Block(match["language"], match["code"], match["mark"] or "") for match in BLOCK.finditer(read(page))]


def runnable(page: str) -> list[Block]:
    return [
        block for block in blocks(page) if block.language in ("bash", "python") and not block.mark.startswith("skip ")
    ]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's first run leaves behind."""
    folder = tmp_path_factory.mktemp("first-run")
    write_corpus(folder / "corpus")
    corpus = ("data=text_files", "data.dir=corpus", "data.tokenizer=moses", "data.min_count=3")
    preloaded.run("train", "experiment=quickstart", *corpus, "hydra.run.dir=outputs/first", cwd=folder)
    preloaded.run("export", "checkpoint=outputs/first/checkpoints/best.ckpt", "out=exports/first", cwd=folder)
    return folder


@pytest.mark.slow
@pytest.mark.longest
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)])
def test_commands_run_in_order(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    if page == "README.md":
        write_corpus(tmp_path / "corpus")
    else:
        shutil.copytree(request.getfixturevalue("first_run"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "bin").mkdir()
    preloaded.executable(tmp_path / "bin")
    folders = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(folders)}
    address = ""
    with ExitStack() as service:
        for block in runnable(page):
            if block.mark == "service":
                service.close()
                # shlex does not join continued lines as a shell does
                command = ["env", *shlex.split(block.code.replace("\\\n", "").replace("8000", "0"))]
                client = service.enter_context(served(command, tmp_path, {"PATH": environment["PATH"]}))
                address = str(client.base_url).rstrip("/")
                continue
            code = block.code.replace("http://127.0.0.1:8000", address)
            # by default curl exits with 0 whatever the status
            code = code.replace("curl -s ", "curl -s --fail-with-body --noproxy '*' ")
            shell = (
                ["bash", "-euo", "pipefail", "-c", code] if block.language == "bash" else preloaded.command("-c", code)
            )
            done = subprocess.run(
                shell,
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.code}\nexit {done.returncode}\n{done.stdout}"


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_known_mark(page: str) -> None:
    for block in blocks(page):
        assert re.fullmatch(r"skip .{10,}|service|", block.mark), block.mark


@pytest.mark.parametrize("page", PAGES)
def test_skipped_commands_compose(page: str) -> None:
    for block in blocks(page):
        if block.language == "bash" and block.mark.startswith("skip "):
            for line in block.code.replace("\\\n", "").splitlines():
                program, _, rest = line.partition(" ")
                if program == "lstm-lm":
                    command, *overrides = shlex.split(rest)
                    if command in SCHEMAS:
                        check(command, overrides)


# --- links ---


@cache
def anchors(page: str) -> set[str]:
    """The fragments that GitHub gives the headings of a page."""
    text = re.sub(r"```.*?```", "", read(page), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES])
def test_every_link_leads_somewhere(page: str) -> None:
    for link in (match[1] or match[2] for match in LINK.finditer(read(page))):
        place = next((link.removeprefix(prefix) for prefix in FILES if link.startswith(prefix)), None)
        if place is None and re.match(r"https?:|mailto:", link):
            continue
        name, _, fragment = (link if place is None else place).partition("#")
        folder = (ROOT / page).parent if place is None else ROOT
        target = (folder / name).resolve() if name else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if fragment:
            assert fragment in anchors(str(target.relative_to(ROOT))), f"{page} links to {link}"


def test_readme_renders_on_a_package_index() -> None:
    """A package index shows README.md without the repository around it."""
    links = [match[1] or match[2] for match in LINK.finditer(read("README.md"))]
    assert [link for link in links if not re.match(r"https?:|#", link)] == []


def test_readme_shows_steps_that_the_quickstart_has() -> None:
    script = read("scripts/quickstart.sh")
    steps = [
        line.removeprefix("== ") for block in blocks("README.md") for line in re.findall("^== .+$", block.code, re.M)
    ]
    assert steps
    assert [step for step in steps if f'step "{step}"' not in script] == []


# --- names ---


def setting_exists(text: str) -> bool:
    """Whether ``NAME`` or ``NAME=VALUE`` is a setting or an option; a file name or plain word counts as existing."""
    match = SETTING.fullmatch(text)
    if match is None:
        return True
    name, value = match[1], match[2]
    groups = {folder.name for folder in (ROOT / "configs").iterdir() if folder.is_dir()}
    if name in groups and value is not None:
        options = [option for option in value.split(",") if re.fullmatch(r"[a-z0-9_]+", option)]
        return set(options) <= {*group_options(name), "null", "mine"}  # the name that the pages give a user's own
    first, _, rest = name.partition(".")
    fields = {field for schema in SCHEMAS.values() for field in schema.__dataclass_fields__}
    if value is None and (not rest or rest.rpartition(".")[2] in FILE_SUFFIXES):
        return True
    if rest and first not in fields:
        return True
    if first == "trainer" and rest in inspect.signature(L.Trainer).parameters:
        return True
    # any argument of what the config names
    if first in set(OPEN) - {"trainer"} or name.startswith("model.cell_options."):
        return True
    return any(_has(schema, name) for schema in SCHEMAS.values())


def _has(schema: type, name: str) -> bool:
    patterns = (leaf.path.replace("NAME", "[a-z0-9_]+") for leaf in all_settings(schema))
    return any(re.fullmatch(pattern, name) for pattern in patterns)


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_every_setting_that_a_page_names_exists(page: str) -> None:
    text = re.sub(r"```.*?```", "", read(page), flags=re.S)
    named = {word.rstrip(",") for span in INLINE.findall(text) for word in span.split()}
    assert sorted(word for word in named if not setting_exists(word)) == []


def test_changelog_maps_old_settings_to_existing_ones() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", read("CHANGELOG.md"), re.M)
    settings = [(old, new) for old, new in rows if re.fullmatch(r"[a-z_.=]+", old)]
    assert len(settings) > 5
    for old, new in settings:
        assert setting_exists(new), new
        assert not any(_has(schema, old) for schema in SCHEMAS.values()), old


def test_config_tree_lists_every_option() -> None:
    (tree,) = (block.code for block in blocks("docs/configs.md") if block.code.startswith("averaging "))
    listed = {line.split()[0]: line.split()[1:] for line in tree.splitlines()}
    shipped: dict[str, list[str]] = {}
    for file in sorted((ROOT / "configs").glob("*/*.yaml")):
        shipped.setdefault(file.parent.name, []).append(file.stem)
    assert listed == shipped


def test_settings_table_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "settings_table.py", "--check"], check=False)
    assert done.returncode == 0, "run: python scripts/settings_table.py"


def test_serving_page_lists_every_variable() -> None:
    listed = set(re.findall(rf"`{ENV_PREFIX}([A-Z_]+)`", read("docs/serving.md")))
    assert listed == {field.upper() for field in Settings.model_fields}


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_that_a_page_names_exists(page: str) -> None:
    known = {field.upper() for field in Settings.model_fields} | OTHER_VARIABLES
    assert set(re.findall(rf"\b{ENV_PREFIX}([A-Z_]+)", read(page))) <= known


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", read("CHANGELOG.md"), re.M)
    cited = re.search(r"^version: (\S+)$", read("CITATION.cff"), re.M)
    assert newest is not None
    assert cited is not None
    assert {newest[1], cited[1]} == {project["version"]}
    assert set(project["urls"].values()) >= {REPOSITORY}
