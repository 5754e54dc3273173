"""A damaged or crafted checkpoint gives one clear message, soon, and no other numbers."""

import random
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_models import checkpoint_content, small_network

from lstm_lm.checkpoint import read_checkpoint
from lstm_lm.errors import CheckpointError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(checkpoint_content(small_network()), tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def entry_ranges(path: Path) -> dict[str, range]:
    """Position of the content of each entry in the file."""
    whole, ranges = path.read_bytes(), {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            header = whole[entry.header_offset :]
            names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            start = entry.header_offset + 30 + names
            ranges[entry.filename.partition("/")[2]] = range(start, start + entry.file_size)
    return ranges


def test_every_flipped_bit_and_zeroed_page_in_a_tensor_is_noticed(path: Path) -> None:
    whole, ranges = path.read_bytes(), entry_ranges(path)
    rng = random.Random(0)
    tensors = [name for name in ranges if name.startswith("data/")]
    assert len(tensors) == 10
    for trial in range(60):
        name = rng.choice(tensors)
        damaged = bytearray(whole)
        if trial % 3:
            damaged[rng.choice(ranges[name])] ^= 1 << rng.randrange(8)
        else:
            damaged[ranges[name].start : ranges[name].stop] = bytes(len(ranges[name]))
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"x\.ckpt: the checkpoint is damaged \(data/\d+ does not match"):
            read_checkpoint(path)


def test_a_flip_anywhere_is_noticed_or_changes_nothing(path: Path) -> None:
    whole, expected = path.read_bytes(), read_checkpoint(path).network.state_dict()
    rng = random.Random(1)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with suppress(CheckpointError):
            found = read_checkpoint(path).network.state_dict()
            assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99, 0.9999])
def test_a_truncated_file_is_incomplete(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"x\.ckpt: (is empty|the checkpoint is incomplete or damaged .*bytes\))"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("word/document.xml", b"<xml/>", "is a zip archive, but not a checkpoint"),
        (
            "x/data.pkl",
            b"\x80\x02.",
            "is not loaded|not a checkpoint that torch can read",
        ),
    ],
)
def test_another_archive_is_named_without_torchs_words(path: Path, name: str, content: bytes, message: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert not {"PytorchStreamReader", "miniz", "enforce"} & set(str(caught.value).split())


def test_a_compressed_archive_is_refused_before_it_is_unpacked(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(50_000_000))
    with pytest.raises(CheckpointError, match="is not an archive that torch wrote"):
        read_checkpoint(path)


def shared(levels: int) -> list[Any]:
    """A few hundred bytes in a pickle, 2**levels values where it is printed or copied."""
    data: list[Any] = ["a"]
    for _ in range(levels):
        data = [data, data]
    return data


def deep(levels: int) -> list[Any]:
    data: list[Any] = []
    for _ in range(levels):
        data = [data]
    return data


def swap(part: str, name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(content: dict[str, Any]) -> None:
        (content if part == "top" else content["lstm_lm"] if part == "" else content["lstm_lm"][part])[name] = value

    return change


def swap_bias(make: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["state_dict"].update(
        {"model.output_bias": make(content["state_dict"]["model.output_bias"])}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((swap("", name, shared(40)), name) for name in ("format", "metrics", "tokenizer", "presets", "epoch")),
        (
            swap("metrics", "valid", shared(40)),
            "metrics: (holds more values|is nested)",
        ),
        (swap("model", "hidden_dims", shared(40)), "model: "),
        (swap("top", "callbacks", shared(25)), "callbacks: holds more values"),
        (swap("top", "callbacks", deep(200)), "callbacks: is nested more than 32 levels deep"),
        (swap("metrics", "valid", "x" * 1000 + "\0"), "metrics: holds a NUL character"),
        (swap("data", "dir", "a\0b"), "data: holds a NUL character"),
        (swap("data", "dir", "x" * 5000), "data.dir: is longer than any path"),
        (swap("metrics", "valid", 10**40), "metrics: holds a number of more than 64 bits"),
        (swap("metrics", "valid", torch.zeros(2)), "metrics: holds a Tensor, which is not plain data"),
        (swap("metrics", "valid", {1, 2}), "metrics: holds a set"),
        (swap("", "tokenizer", "bpe"), r"tokenizer: unknown \(got 'bpe'\)"),
        (swap("model", "hidden_dims", [16] * 100_000), "100000 layers, 10 weights"),
        (swap("model", "hidden_dims", [2**62, 16]), "no network can have these sizes"),
        (lambda c: c["lstm_lm"]["presets"]["greedy"].update(temperature=-1.0), "presets.greedy.temperature: must be"),
        (swap_bias(lambda _: None), "output_bias is a NoneType, not a tensor"),
        (swap_bias(lambda bias: bias.to_sparse()), "output_bias is not stored as one contiguous block"),
        (swap_bias(lambda bias: bias[:1].expand(bias.shape)), "output_bias is not stored as one contiguous block"),
        (swap_bias(lambda bias: bias.to(torch.complex64)), "output_bias has dtype torch.complex64"),
        (swap_bias(lambda bias: torch.nested.nested_tensor([bias, bias])), "output_bias is a nested tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_crafted_content_is_refused_soon_in_one_short_message(
    change: Callable[[dict[str, Any]], Any], message: str, path: Path
) -> None:
    content = checkpoint_content(small_network())
    change(content)
    torch.save(content, path)
    began = time.process_time()
    with pytest.raises(CheckpointError, match=message) as caught:
        _ = read_checkpoint(path).network
    assert time.process_time() - began < 10
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 1500


def test_half_precision_weights_are_read_as_they_are(path: Path) -> None:
    content = checkpoint_content(small_network())
    swap_bias(lambda bias: bias.half())(content)
    torch.save(content, path)
    bias = read_checkpoint(path).network.output_bias
    assert torch.equal(bias, content["state_dict"]["model.output_bias"].float())
