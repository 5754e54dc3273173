"""A stand-in for a GPU: tensors that say they are on one and are computed on the CPU.

As on a real GPU, an operation on tensors of both kinds of device is an error, and so is ``numpy()``. So a machine
without a GPU can test that code keeps its tensors together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

# torch has no device guard for cuda in a build without it
GPU = torch.device("meta")
# a real GPU takes an index on the CPU, and copies from there
_MIXED = {"aten::index.Tensor", "aten::index_put_", "aten::_index_put_impl_", "aten::copy_"}


class StandInTensor(torch.Tensor):
    """A tensor on the stand-in; ``inner`` has its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "StandInTensor":
        layout: dict[str, Any] = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        tensor = torch.Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, device=GPU, **layout)  # type: ignore[attr-defined]
        tensor.inner = inner
        assert isinstance(tensor, StandInTensor)
        return tensor

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> "StandInTensor":
        return StandInTensor(inner["inner"])

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Creates new tensors on the stand-in where they are asked for on ``GPU``."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [part for part in tree_flatten((args, kwargs))[0] if isinstance(part, Tensor)]
    stand_ins = [tensor for tensor in tensors if isinstance(tensor, StandInTensor)]
    device = kwargs.get("device")
    if function.name() not in _MIXED and stand_ins:
        for tensor in tensors:
            if not isinstance(tensor, StandInTensor) and tensor.dim() > 0:
                raise RuntimeError(f"{function.name()}: tensors on two devices, the GPU and the CPU")
    on_gpu = bool(stand_ins) if device is None else torch.device(device) == GPU
    if function.name() == "aten::copy_":
        on_gpu = isinstance(args[0], StandInTensor)
    inner_kwargs = dict(kwargs) if device is None else {**kwargs, "device": torch.device("cpu")}

    def unwrap(part: Any) -> Any:
        return part.inner if isinstance(part, StandInTensor) else part

    result = function(*tree_map(unwrap, args), **tree_map(unwrap, inner_kwargs))
    if not on_gpu:
        return result
    result = tree_map(lambda part: StandInTensor(part) if isinstance(part, Tensor) else part, result)
    return return_and_correct_aliasing(function, args, kwargs, result) if stand_ins else result


@contextmanager
def stand_in_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Let tensors on ``GPU`` be stand-ins within the context."""
    create = torch.tensor

    def tensor(data: Any, *, device: Any = None, requires_grad: bool = False, **arguments: Any) -> Tensor:
        # torch drops the numbers of a tensor on "meta"
        return create(data, **arguments).to(device or "cpu").requires_grad_(requires_grad)

    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # tensors of a subclass have no inference mode
    with _Mode():
        yield GPU
