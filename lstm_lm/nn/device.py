"""Device selection, float32 precision and CUDA graphs."""

import warnings

import torch

from lstm_lm.errors import EvaluationError


def find_device(accelerator: str) -> torch.device:
    """The device for ``accelerator``: ``gpu``, ``cpu``, or ``auto``, a GPU if one is found.

    Raises:
        EvaluationError: If ``accelerator`` is ``gpu`` and no GPU is found.
    """
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise EvaluationError("no GPU found; use accelerator=cpu")
    return torch.device("cuda")


def use_exact_float32(device: torch.device) -> None:
    """Disable TF32 on a GPU: with it, cuDNN rounds the inputs of an LSTM's matrix products to 10 bits."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False


def ignore_stream_warning() -> None:
    """Hide torch's warning about gradients on two streams: a CUDA graph is captured on a stream of its own."""
    warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")


def wait_for(device: torch.device) -> None:
    """Wait for the work that was given to a GPU, to time it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
