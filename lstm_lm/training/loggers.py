"""The loggers of a run: built from the config, and what each of them can show besides numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger
from lightning.pytorch.loggers import TensorBoardLogger as LightningTensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard.summary import hparams
from typing_extensions import override

from lstm_lm.errors import ConfigError
from lstm_lm.report.runs import LOCATIONS, NOT_SETTINGS
from lstm_lm.serialization import flatten
from lstm_lm.training.config import TrainConfig
from lstm_lm.training.targets import TARGET, build

FINAL = "whole_run"
"""Prefix of the metrics of a whole run; TensorBoard sorts by name, so they come after the curves of train and valid."""
FINAL_METRIC = f"{FINAL}/valid_perplexity"
_MAX_HPARAMS = 25
# TensorBoard's overview; a column needs a value in every run, or TensorBoard does not show that it varies
_HPARAMS = (
    "seed",
    "data.source",
    "data.max_size",
    "batching.batch_size",
    "batching.bptt_length",
    "model.cell",
    "model.embedding_dim",
    "model.hidden_dims",
    "model.input_dropout",
    "model.hidden_dropout",
    "model.output_dropout",
    "model.weight_dropout",
    "loss.name",
    "optimizer._target_",
    "optimizer.lr",
    "optimizer.weight_decay",
    "schedule._target_",
    "averaging.name",
)


def build_loggers(config: Mapping[str, Any], run_dir: Path, run_name: str, resumed_step: int | None) -> list[Logger]:
    """Build the loggers of the group ``logger``, in the order of the config.

    Args:
        config: Loggers by name, each with ``_target_`` and its arguments; ``None`` leaves one out.
        run_dir: Folder of the run.
        run_name: Name of the run, for loggers that show one.
        resumed_step: The step after which a resumed run logs again; ``None`` for a new run.

    Raises:
        ConfigError: If a logger rejects its arguments, its package is missing, or it is not a logger.
    """
    loggers = []
    for key, node in config.items():
        if node is None:
            continue
        logger = build(
            node,
            f"logger.{key}",
            save_dir=str(run_dir),
            run_dir=run_dir,
            name=run_name,
            run_name=run_name,
            resumed_step=resumed_step,
        )
        if not isinstance(logger, Logger):
            raise ConfigError([f"logger.{key}.{TARGET}: is not a logger of Lightning (got {node[TARGET]})"])
        loggers.append(logger)
    return loggers


def last_logged_step(checkpoint: Mapping[str, Any]) -> int:
    """The last step whose points a run that resumes from ``checkpoint`` does not log again."""
    step, callbacks = checkpoint.get("global_step"), checkpoint.get("callbacks")
    if not isinstance(step, int) or not isinstance(callbacks, dict):
        return 0  # a crafted file; it is rejected when it is restored
    due = any(isinstance(state, dict) and state.get("validation_due") for state in callbacks.values())
    return step - 1 if due else step  # a validation that is due is repeated


class TensorBoardLogger(LightningTensorBoardLogger):
    """Event files in ``RUN/tensorboard/NAME``, so that TensorBoard shows the name of the run.

    A run that continues in its folder writes there too; TensorBoard drops the points that it logs again.

    Args:
        run_dir: Folder of the run.
        run_name: Name of a new run.
        resumed_step: The points after this step are logged again; ``None``: all of them.
        prefix: Put before the name of every metric.
    """

    def __init__(self, run_dir: Path, run_name: str, resumed_step: int | None = None, prefix: str = "") -> None:
        folder = run_dir / "tensorboard"
        previous = sorted(folder.iterdir()) if folder.is_dir() else []
        purge: dict[str, Any] = {"purge_step": 0 if resumed_step is None else resumed_step + 1} if previous else {}
        name = previous[-1].name if previous else run_name
        self._run_dir = run_dir
        super().__init__(str(folder), name="", version=name, default_hp_metric=False, prefix=prefix, **purge)
        self._session_end: Any = None

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, metrics: dict[str, Any] | None = None, step: int | None = None) -> None:
        # not Lightning's: it logs the metrics of the overview at step 0, the overview has only the settings of one run,
        # and TensorBoard answers 500 for a column with numbers in one run and the text "None" in another
        self.hparams.update(params)
        flat = overview(flatten(params), _overridden(self._run_dir))
        _, start, self._session_end = hparams(flat, {})  # type: ignore[no-untyped-call]
        self.experiment._get_file_writer().add_summary(start)

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        if status == "success" and self._session_end is not None:
            self.experiment._get_file_writer().add_summary(self._session_end)
            self._session_end = None
        super().finalize(status)


def overview(settings: Mapping[str, Any], overridden: Sequence[str] = ()) -> dict[str, Any]:
    """The settings in TensorBoard's overview of runs, at most 25; what is neither a number nor a text is a text.

    Args:
        settings: All settings by their dotted path.
        overridden: Paths that were set on the command line: all jobs of a sweep set the same ones.

    Returns:
        Those on the command line, the main ones, and what differs from its default, as long as there is room.
    """
    defaults = flatten(asdict(TrainConfig()))
    changed = [name for name, value in settings.items() if value != defaults.get(name)]
    left_out = (*NOT_SETTINGS, *LOCATIONS)
    chosen = [name for name in dict.fromkeys([*overridden, *_HPARAMS, *changed]) if not name.startswith(left_out)]
    values = {name: settings[name] for name in chosen if settings.get(name) is not None}
    plain = {name: value if isinstance(value, int | float) else str(value) for name, value in values.items()}
    return dict(list(plain.items())[:_MAX_HPARAMS])


def _overridden(run_dir: Path) -> list[str]:
    """The settings of the command line that started the run; empty for a run from Python."""
    try:
        lines = yaml.safe_load((run_dir / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return []
    return [str(line).partition("=")[0].lstrip("+") for line in lines or ()]


def shows_text(logger: Logger) -> bool:
    """Whether :func:`log_text` has an effect."""
    return isinstance(logger, WandbLogger | MLFlowLogger) or hasattr(_experiment(logger), "add_text")


def log_text(logger: Logger, name: str, text: str, step: int) -> None:
    """Log a text to a logger that can show one."""
    if isinstance(logger, WandbLogger):
        logger.log_text(name, columns=["step", "text"], data=[[str(step), text]], step=step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_text(logger.run_id, text, f"{name}/{step:08d}.txt")
    elif shows_text(logger):
        _experiment(logger).add_text(name, text, step)


def log_embeddings(logger: Logger, words: list[str], embeddings: Tensor, step: int) -> None:
    """Log embeddings to a logger that can project them.

    Args:
        logger: Any logger.
        words: (N,), the label of each row.
        embeddings: (N, E).
        step: The step.
    """
    if isinstance(logger, WandbLogger):
        columns = ["word", *(f"e{index}" for index in range(embeddings.shape[1]))]
        rows = [[word, *row] for word, row in zip(words, embeddings.tolist(), strict=True)]
        logger.log_table("embedding", columns=columns, data=rows, step=step)
    elif hasattr(_experiment(logger), "add_embedding"):
        _experiment(logger).add_embedding(embeddings, metadata=words, tag="embedding", global_step=step)


def log_figure(logger: Logger, name: str, figure: Figure, step: int) -> None:
    """Log a figure to a logger that can show one."""
    if isinstance(logger, WandbLogger):
        logger.log_image(name, images=[figure], step=step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, figure, f"{name}.png")
    elif hasattr(_experiment(logger), "add_figure"):
        _experiment(logger).add_figure(name, figure, step, close=False)


def _experiment(logger: Logger) -> Any:
    """What most loggers write with; Lightning does not require it."""
    return getattr(logger, "experiment", None)


def finish(logger: Logger, failed: bool) -> None:
    """End a run of W&B: otherwise the next job of a sweep would log to it."""
    if isinstance(logger, WandbLogger) and logger._experiment is not None:
        logger._experiment.finish(exit_code=int(failed))
