"""An engine from whatever ``--model`` names."""

from pathlib import Path

from lstm_lm.bundle import build_engine, read_bundle
from lstm_lm.errors import ConfigError
from lstm_lm.export.model_path import resolve_model_path
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.info import ModelInfo


def load_engine(path: Path) -> Engine:
    """The engine of a bundle, a checkpoint or a run folder: see :func:`load_model`."""
    return load_model(path)[0]


def load_model(path: Path, backend: str = "auto", prefix_cache_size: int = 0) -> tuple[Engine, ModelInfo]:
    """The engine of a bundle, a checkpoint or a run folder, and what is known of its model.

    Args:
        path: As ``resolve_model_path`` takes it.
        backend: What runs a bundle's network, as in ``build_engine``; a checkpoint is always run by torch.
        prefix_cache_size: Most beginnings of texts whose state is kept.

    Raises:
        ConfigError: If the bundle has no file for ``backend``.
        BundleError: If the bundle is damaged.
        CheckpointError: If there is nothing at ``path``, or the checkpoint cannot be read.
    """
    path = resolve_model_path(path)
    if path.is_dir():
        bundle = read_bundle(path)
        return build_engine(bundle, backend, prefix_cache_size), bundle.about
    if backend not in ("auto", "torch"):
        raise ConfigError([f"backend: {path} is a checkpoint, which only torch runs (got {backend!r}); export it"])
    # needs torch, which a bundle need not
    from lstm_lm.export.checkpoint import read_checkpoint
    from lstm_lm.inference.torch_backend import TorchBackend

    trained = read_checkpoint(path)
    network = TorchBackend(trained.model)
    engine = Engine(network, trained.vocabulary, trained.presets, trained.default_preset, prefix_cache_size)
    # the name of the corpus alone: the rest may hold places on this machine
    data = {"name": trained.data.source}
    return engine, ModelInfo(path.name, trained.config, trained.tokenizer, data, trained.metrics)
