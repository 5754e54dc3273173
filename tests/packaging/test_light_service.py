"""``pip install lstm-lm[serve]`` installs no training package, and the service needs nothing else."""

import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
import torch
from helpers.service_process import is_ready
from helpers.small_models import write_plain_bundle
from helpers.waiting import DEADLINE, wait_until
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lstm_lm import __version__
from lstm_lm.data.config import DataConfig
from lstm_lm.export.onnx_graph import float_graph, int8_graph
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.vocabulary import Vocabulary

ROOT = Path(__file__).parent.parent.parent
TRAINING = {"torch", "lightning", "pytorch-lightning", "hydra-core", "omegaconf", "datasets", "onnx", "tensorboard"}
VOCAB_SIZE = 33_278
RESIDENT_MB = 250


def collect_dependencies(lines: Iterable[str], extras: frozenset[str], seen: dict[str, Distribution]) -> None:
    """Add every package that pip would install for these requirements of a package with ``extras`` to ``seen``."""
    for requirement in map(Requirement, lines):
        environments = [{"extra": extra} for extra in (*extras, "")]
        if requirement.marker is not None and not any(map(requirement.marker.evaluate, environments)):
            continue
        name = canonicalize_name(requirement.name)
        if name not in seen or requirement.extras:
            seen[name] = distribution(name)
            collect_dependencies(seen[name].requires or (), frozenset(requirement.extras), seen)


@pytest.fixture(scope="module")
def packages() -> dict[str, Distribution]:
    # read pyproject.toml: the metadata of an editable install can be outdated
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    seen: dict[str, Distribution] = {}
    collect_dependencies([*project["dependencies"], *project["optional-dependencies"]["serve"]], frozenset(), seen)
    return seen


def test_serve_extra_installs_no_training_package(packages: dict[str, Distribution]) -> None:
    assert not TRAINING & packages.keys()
    assert {"fastapi", "onnxruntime", "prometheus-client", "numpy"} <= packages.keys()


@pytest.fixture(scope="module")
def python(packages: dict[str, Distribution], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with only these packages."""
    folder = tmp_path_factory.mktemp("light")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    for package in packages.values():
        for top in {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (own / top).exists():
                (own / top).symlink_to(package.locate_file(top))
    (own / "lstm_lm").symlink_to(ROOT / "lstm_lm")
    (own / "lstm_lm.dist-info").mkdir()
    (own / "lstm_lm.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: lstm-lm\nVersion: {__version__}\n"
    )
    return python


@pytest.fixture(scope="module")
def medium_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of model=medium with a vocabulary of WikiText-2's size."""
    config = ModelConfig(embedding_dim=400, hidden_dims=[640, 400])
    words = ["the", "<eos>", "<unk>", "people", *(f"word{index}" for index in range(VOCAB_SIZE - 4))]
    torch.manual_seed(0)
    network = LSTMLanguageModel(config, VOCAB_SIZE)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    path = tmp_path_factory.mktemp("exports") / "medium"
    write_plain_bundle(
        path,
        model=config,
        tokenizer="moses",
        data=DataConfig(source="text_files"),
        presets={"greedy": SamplingConfig(strategy="greedy")},
        default_preset="greedy",
        weights=weights,
        vocabulary=Vocabulary(words, range(VOCAB_SIZE, 0, -1)),
        card="# medium\n",
        graphs={"model.onnx": float_graph(config, weights), "model.int8.onnx": int8_graph(config, weights)},
    )
    return path


@pytest.fixture(scope="module", params=["int8", "onnx"])
def service(
    request: pytest.FixtureRequest, python: Path, medium_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service without torch, and its address."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LSTM_LM_")}
    environment |= {"LSTM_LM_BACKEND": request.param, "LSTM_LM_DRAIN_SECONDS": "0"}
    folder = tmp_path_factory.mktemp("served")
    command = [python, "-m", "lstm_lm", "serve", "--model", medium_bundle, "--port", "0"]
    log = folder / "service.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=output, stdout=output, text=True)
    try:
        yield process, wait_until_ready(process, log)
    finally:
        process.terminate()
        process.wait(DEADLINE)


def wait_until_ready(process: subprocess.Popen[str], log: Path) -> str:
    def address() -> str | None:
        assert process.poll() is None, log.read_text()
        match = re.search(r"http://[\d.]+:\d+", log.read_text())
        return match[0] if match and is_ready(match[0]) else None

    return wait_until(address, log) or ""


def post(address: str, route: str, body: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(
        f"{address}{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:
        content: dict[str, object] = json.load(response)
    return content


def resident_mb(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the memory of a process from /proc")
def test_service_without_torch_stays_small(service: tuple[subprocess.Popen[str], str]) -> None:
    process, address = service
    text = ""
    for word in ["the", "people", "word7", "unheard"] * 20:
        text = f"{text} {word}".strip()
        assert post(address, "/predict", {"text": text, "k": 3})["suggestions"]
    assert post(address, "/generate", {"text": text, "generate": 30})["text"]
    assert resident_mb(process) <= RESIDENT_MB


@pytest.mark.slow
def test_checkpoint_without_torch_is_a_clear_error(python: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", "")
    command = [python, "-m", "lstm_lm", "serve", "--model", tmp_path / "best.ckpt", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert (done.returncode, done.stdout) == (1, "")
    assert "serve needs the training packages (torch is missing): pip install 'lstm-lm[train]'" in done.stderr
