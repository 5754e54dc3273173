"""An engine from whatever ``--model`` names."""

from pathlib import Path

from lstm_lm.bundle import load_engine, read_bundle
from lstm_lm.inference.engine import Engine


def open_engine(path: Path) -> Engine:
    """The engine of a bundle (a folder) or of a checkpoint (a file).

    Raises:
        BundleError: If the bundle is damaged.
        CheckpointError: If the checkpoint cannot be read.
    """
    if path.is_dir():
        return load_engine(read_bundle(path))
    # needs torch, which a bundle need not
    from lstm_lm.export.checkpoint import read_checkpoint
    from lstm_lm.inference.torch_backend import TorchBackend

    trained = read_checkpoint(path)
    return Engine(TorchBackend(trained.model), trained.vocabulary, trained.presets, trained.default_preset)
