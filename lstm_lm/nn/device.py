"""Which device a network runs on, and how exactly."""

import torch


def find_device(accelerator: str) -> torch.device:
    """The device for ``accelerator``: ``gpu``, ``cpu``, or ``auto``, which is a GPU where there is one.

    Raises:
        ValueError: If there is no GPU.
    """
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("no GPU found; use accelerator=cpu")
    return torch.device("cuda")


def use_exact_float32(device: torch.device) -> None:
    """Keep float32 exact on a GPU: cuDNN would otherwise round the factors of an LSTM's products to 10 bits (TF32)."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
