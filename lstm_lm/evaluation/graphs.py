"""Steps over segments of one length as CUDA graphs."""

from collections.abc import Callable

import torch
from torch import Tensor

from lstm_lm.evaluation.forward import Segment
from lstm_lm.nn.device import quiet_capture

Step = Callable[[Tensor, Tensor], Segment]
"""A function of input ids (T,) and target ids (T,)."""
_WARM_UPS = 3  # before a capture, as PyTorch's documentation of CUDA graphs asks for


def graphed(step: Step, length: int, device: torch.device) -> Step:
    """``step`` as a CUDA graph, for segments of ``length`` words on a GPU; elsewhere ``step`` itself.

    A step over a few words launches hundreds of small kernels, which take less time than their launches; a graph
    replays all of them with one call.

    Args:
        step: Works in place: what it reads and writes between calls stays where it is in memory.
        length: Words of a segment; shorter ones run without the graph.
        device: Of the network.

    Returns:
        The step, whose result the next call overwrites. It has already run a few times, on words that mean nothing:
        what it changes must be set anew.
    """
    if device.type != "cuda":
        return step
    quiet_capture()
    inputs = torch.zeros(2, length, dtype=torch.int64, device=device)
    current, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            step(inputs[0], inputs[1])
    current.wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step(inputs[0], inputs[1])

    def replay(input_ids: Tensor, target_ids: Tensor) -> Segment:
        if len(input_ids) != length:
            return step(input_ids, target_ids)
        inputs[0].copy_(input_ids)
        inputs[1].copy_(target_ids)
        graph.replay()
        return result

    return replay
