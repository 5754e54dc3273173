"""Steps over segments of one length as CUDA graphs."""

from collections.abc import Callable

import torch
from torch import Tensor

from lstm_lm.evaluation.forward import ScoredWords
from lstm_lm.nn.device import ignore_stream_warning

Step = Callable[[Tensor, Tensor], ScoredWords]
"""A function of input ids (T,) and target ids (T,)."""
_WARM_UPS = 3  # before a capture, as PyTorch's documentation of CUDA graphs asks for


def graphed(step: Step, length: int, device: torch.device) -> Step:
    """``step`` as a CUDA graph, for segments of ``length`` words on a GPU; elsewhere ``step`` itself.

    A step over a few words launches hundreds of small kernels, which take less time than their launches; a graph
    replays all of them with one call.

    Args:
        step: Works in place: what it keeps between calls stays where it is in memory, and is not changed by Python
            code, which a replay does not run.
        length: Words of a segment; shorter ones run without the graph.
        device: Of the network.

    Returns:
        The step, whose result the next call overwrites. It has already run four times on dummy ids, as warm-ups and for
        the capture; the caller resets all that it changes.
    """
    if device.type != "cuda":
        return step
    ignore_stream_warning()
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

    def replay(input_ids: Tensor, target_ids: Tensor) -> ScoredWords:
        if len(input_ids) != length:
            return step(input_ids, target_ids)
        inputs[0].copy_(input_ids)
        inputs[1].copy_(target_ids)
        graph.replay()
        return result

    return replay
