"""Load an engine from a bundle or a checkpoint, as ``--model`` gives it."""

from pathlib import Path

from lstm_lm.bundle import build_engine, read_bundle
from lstm_lm.errors import ConfigError
from lstm_lm.export.model_path import resolve_model_path
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.info import ModelInfo


def load_engine(path: Path) -> Engine:
    """Load the engine of a bundle, a checkpoint or a run folder: see :func:`load_model`."""
    return load_model(path)[0]


def load_model(path: Path, backend: str = "auto", prefix_cache_size: int = 0) -> tuple[Engine, ModelInfo]:
    """Load the engine and the model info of a bundle, a checkpoint or a run folder.

    Args:
        path: As in ``resolve_model_path``.
        backend: As in ``build_engine``; a checkpoint always runs on torch.
        prefix_cache_size: Maximum number of prefixes whose state is cached.

    Raises:
        ConfigError: If the bundle has no file for ``backend``.
        BundleError: If the bundle is damaged.
        CheckpointError: If ``path`` does not exist, or the checkpoint cannot be read.
    """
    path = resolve_model_path(path)
    if path.is_dir():
        bundle = read_bundle(path)
        return build_engine(bundle, backend, prefix_cache_size), bundle.info
    if backend not in ("auto", "torch"):
        raise ConfigError([f"backend: a checkpoint runs on torch only (got {backend!r}); export {path} first"])
    # these imports need torch; a bundle does not
    from lstm_lm.export.checkpoint import read_checkpoint
    from lstm_lm.inference.torch_backend import TorchBackend

    trained = read_checkpoint(path)
    network = TorchBackend(trained.model)
    engine = Engine(network, trained.vocabulary, trained.presets, trained.default_preset, prefix_cache_size)
    # the other fields may contain local paths
    data = {"name": trained.data.corpus_name}
    num_parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    return engine, ModelInfo(path.name, trained.config, num_parameters, trained.tokenizer, data, trained.metrics)
