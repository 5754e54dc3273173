"""The config schema of every command that runs through Hydra, composed of the dataclasses of each layer."""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from lstm_lm.config.targets import group_problems
from lstm_lm.data.config import SPLITS, BatchingConfig, DataConfig
from lstm_lm.evaluation.config import EVALUATIONS, TUNABLE, EvaluationConfig
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.training.averaging import AveragingConfig
from lstm_lm.training.config import TrainerConfig

CALLBACK_ARGUMENTS = ("vocabulary", "presets", "seed", "training_metrics", "run_dir")
"""What a callback gets from the run if it takes it and its config does not set it."""
LOGGER_ARGUMENTS = ("save_dir", "run_dir", "name", "run_name", "resumed_step")
"""The same for a logger."""
ACCELERATORS = ("cpu", "gpu", "auto")
EMBEDDING_INITS = ("random", "cooccurrence")
RESUME_AUTO = "auto"
"""``resume=auto``: start a run, continue it, or do nothing if it is finished."""


@dataclass
class TrainConfig:
    """``lstm-lm train`` and ``lstm-lm data``."""

    data: DataConfig = field(default_factory=DataConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: dict[str, Any] = field(default_factory=lambda: {"_target_": "torch.optim.Adam", "lr": 1e-3})
    """``_target_``, the path of an optimizer, and its arguments."""
    schedule: dict[str, Any] = field(
        default_factory=lambda: {"_target_": "lstm_lm.training.schedules.constant", "warmup_fraction": 0.0}
    )
    """``_target_``, the path of a scheduler, and its arguments."""
    averaging: AveragingConfig = field(default_factory=AveragingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: dict[str, Any] = field(default_factory=dict)
    """Callbacks by name, each with ``_target_`` and its arguments; ``null`` leaves one out."""
    logger: dict[str, Any] = field(default_factory=dict)
    """Loggers by name, like ``callbacks``."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Default preset of an export of this run."""
    presets: dict[str, SamplingConfig] = field(default_factory=dict)
    """All presets by name: each generates a sample at every validation and is part of an export."""
    embedding_init: str = "random"
    """``random``, or ``cooccurrence``: word vectors from co-occurrence counts on train. They take seconds to compute
    and save the first epochs."""
    seed: int = 1
    """Seed of every random number generator of the run."""
    resume: str | None = None
    """Checkpoint to resume from: weights, optimizer, LSTM state and position in the epoch. ``auto``: the newest one of
    the run folder, if there is one."""

    def problems(self) -> list[str]:
        """Every invalid setting, as ``path: what is wrong (got VALUE); remedy``."""
        problems = _nested_problems(self)
        problems += self._target_problems()
        if self.embedding_init not in EMBEDDING_INITS:
            known = ", ".join(EMBEDDING_INITS)
            problems.append(f"embedding_init: unknown (got {self.embedding_init!r}); use one of {known}")
        if self.loss.name == "adaptive_softmax" and not self.model.cutoffs:
            problems.append(
                "model.cutoffs: loss.name=adaptive_softmax needs cutoffs (got []); choose loss=adaptive_softmax, which "
                "sets them, or try model.cutoffs=[0.06,0.3]"
            )
        if self.loss.name != "adaptive_softmax" and self.model.cutoffs:
            problems.append(
                f"loss.name: model.cutoffs={list(self.model.cutoffs)} needs adaptive_softmax "
                f"(got {self.loss.name!r}); choose loss=adaptive_softmax or model.cutoffs=[]"
            )
        if not 0 <= self.seed < 2**32:
            problems.append(f"seed: must be from 0 to {2**32 - 1} (got {self.seed})")
        if self.resume not in (None, RESUME_AUTO) and not Path(self.resume).is_file():
            problems.append(f"resume: no such file (got {self.resume}); give RUN/checkpoints/last.ckpt, or auto")
        if self.resume is not None and self.trainer.overfit_one_batch:
            problems.append("resume: trainer.overfit_one_batch cannot be resumed; remove one of the two")
        return problems

    def _target_problems(self) -> list[str]:
        """Problems of what is built from ``_target_``, and of the arguments of Lightning's Trainer."""
        from lstm_lm.training.optimizers import optimizer_problems  # imports torch, which --cfg does not need
        from lstm_lm.training.trainer_arguments import trainer_argument_problems

        trainer = self.trainer
        problems = optimizer_problems(self.optimizer, self.schedule)
        problems += trainer_argument_problems(trainer.arguments, vars(trainer), trainer.budget)
        problems += group_problems(self.callbacks, "callbacks", CALLBACK_ARGUMENTS)
        return problems + group_problems(self.logger, "logger", LOGGER_ARGUMENTS)


@dataclass
class EvalConfig:
    """``lstm-lm eval``."""

    checkpoint: str = MISSING
    """A checkpoint or a bundle."""
    split: str = "test"
    """``train``, ``valid`` or ``test``."""
    data: DataConfig | None = None
    """The corpus; ``None`` is the one that the checkpoint was trained on."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tune: bool = False
    """First tune the settings of the evaluation on valid and save them in the checkpoint."""
    accelerator: str = "cpu"
    """``cpu``; ``gpu``, for ``evaluation=static`` only; ``auto``: a GPU if there is one and it can be used."""

    def problems(self) -> list[str]:
        """Every invalid setting, as ``path: what is wrong (got VALUE); remedy``."""
        problems = _nested_problems(self)
        if self.split not in SPLITS:
            problems.append(f"split: unknown (got {self.split!r}); use one of {', '.join(SPLITS)}")
        if self.tune and self.evaluation.name in EVALUATIONS and not self.evaluation.tunable:
            problems.append(
                f"tune: {self.evaluation.name} has no settings to tune; choose evaluation=NAME ({', '.join(TUNABLE)})"
            )
        if self.accelerator not in ACCELERATORS:
            problems.append(f"accelerator: unknown (got {self.accelerator!r}); use one of {', '.join(ACCELERATORS)}")
        if self.accelerator == "gpu" and self.evaluation.name != "static":
            problems.append(
                f"accelerator: evaluation={self.evaluation.name} runs on the CPU only (got 'gpu'); "
                "use accelerator=cpu or evaluation=static"
            )
        return problems


@dataclass
class ExportConfig:
    """``lstm-lm export``."""

    checkpoint: str = MISSING
    """The checkpoint to export."""
    out: str = MISSING
    """The bundle's folder."""
    export: BundleExportConfig = field(default_factory=BundleExportConfig)
    sampling: SamplingConfig | None = None
    """Default preset of the bundle; ``None`` keeps the run's default."""

    def problems(self) -> list[str]:
        """Every invalid setting, as ``path: what is wrong (got VALUE); remedy``."""
        return _nested_problems(self)


Config = TrainConfig | EvalConfig | ExportConfig
SCHEMAS: dict[str, type[Config]] = {"train": TrainConfig, "eval": EvalConfig, "export": ExportConfig}


def _nested_problems(config: Config) -> list[str]:
    """The problems of every nested dataclass, each with its full path."""
    problems = []
    for node in fields(config):
        value = getattr(config, node.name)
        nested = (
            {f"{node.name}.{name}": node_config for name, node_config in value.items()}
            if isinstance(value, dict)
            else {}
        )
        if hasattr(value, "problems"):
            nested = {node.name: value}
        for path, node_config in nested.items():
            own_problems = node_config.problems()
            own_problems += [
                text
                for text in _non_finite_problems(node_config)
                if not any(problem.startswith(text.partition(":")[0] + ":") for problem in own_problems)
            ]
            problems += [f"{path}.{problem}" for problem in own_problems]
    return problems


def _non_finite_problems(node_config: Any) -> list[str]:
    """Infinite and NaN numbers: a bounds check written as ``value < low`` does not catch NaN."""
    return [
        f"{node.name}: must be a finite number (got {getattr(node_config, node.name)})"
        for node in fields(node_config)
        if isinstance(getattr(node_config, node.name), float) and not math.isfinite(getattr(node_config, node.name))
    ]
