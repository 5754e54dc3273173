"""The schema of every command that is run through Hydra, made of the domain's own dataclasses."""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.evaluation.config import EVALUATIONS, TUNABLE, EvaluationConfig
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.training.averaging import AveragingConfig
from lstm_lm.training.config import CallbacksConfig, LoggerConfig, OptimizerConfig, ScheduleConfig, TrainerConfig

ACCELERATORS = ("cpu", "gpu", "auto")
SPLITS = ("train", "valid", "test")
EMBEDDING_STARTS = ("random", "cooccurrence")


@dataclass
class TrainConfig:
    """``lstm-lm train`` and ``lstm-lm data``.

    Attributes:
        sampling: The preset that an export of this run answers with by default.
        presets: Every preset, by name: each gives a sample at each validation and is baked into an export.
        embedding_init: ``random``, or ``cooccurrence``: word vectors from how often words of train stand near each
            other, made in seconds; they save the first epochs.
        seed: Every random number of the run follows from it.
        resume: Checkpoint to go on from, with its optimizer, state and place in the epoch.
    """

    data: DataConfig = field(default_factory=DataConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    averaging: AveragingConfig = field(default_factory=AveragingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    presets: dict[str, SamplingConfig] = field(default_factory=dict)
    embedding_init: str = "random"
    seed: int = 1
    resume: str | None = None

    def problems(self) -> list[str]:
        """Every wrong setting, as ``path: what is wrong (got VALUE); remedy``."""
        found = _problems_below(self)
        if self.embedding_init not in EMBEDDING_STARTS:
            known = ", ".join(EMBEDDING_STARTS)
            found.append(f"embedding_init: unknown (got {self.embedding_init!r}); use one of {known}")
        if self.loss.name == "adaptive_softmax" and not self.model.cutoffs:
            found.append(
                "model.cutoffs: loss.name=adaptive_softmax needs them (got []); choose loss=adaptive_softmax, which "
                "sets them, or try model.cutoffs=[0.06,0.3]"
            )
        if self.loss.name != "adaptive_softmax" and self.model.cutoffs:
            found.append(
                f"loss.name: a network with model.cutoffs={list(self.model.cutoffs)} is trained with "
                f"adaptive_softmax alone (got {self.loss.name!r}); choose loss=adaptive_softmax or model.cutoffs=[]"
            )
        if not 0 <= self.seed < 2**32:
            found.append(f"seed: must be from 0 to {2**32 - 1} (got {self.seed})")
        if self.optimizer.name == "asgd" and self.averaging.name == "none":
            found.append("averaging: asgd is SGD whose weights are averaged; set averaging=polyak or optimizer=sgd")
        if self.resume is not None and not Path(self.resume).is_file():
            found.append(f"resume: no such file (got {self.resume}); give RUN/checkpoints/last.ckpt")
        if self.resume is not None and self.trainer.overfit_one_batch:
            found.append("resume: trainer.overfit_one_batch starts anew each time; leave one of them out")
        return found


@dataclass
class EvalConfig:
    """``lstm-lm eval``.

    Attributes:
        checkpoint: A checkpoint or a bundle.
        split: ``train``, ``valid`` or ``test``.
        data: The corpus; ``None`` is the one that the checkpoint was trained on.
        evaluation: How it is scored.
        tune: First choose the settings of the evaluation on valid, and save them with the checkpoint.
        accelerator: ``cpu``; ``gpu``, for ``evaluation=static`` only; ``auto`` is ``gpu`` where there is one and the
            evaluation can use it.
    """

    checkpoint: str = MISSING
    split: str = "test"
    data: DataConfig | None = None
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tune: bool = False
    accelerator: str = "cpu"

    def problems(self) -> list[str]:
        """Every wrong setting, as ``path: what is wrong (got VALUE); remedy``."""
        found = _problems_below(self)
        if self.split not in SPLITS:
            found.append(f"split: unknown (got {self.split!r}); use one of {', '.join(SPLITS)}")
        if self.tune and self.evaluation.name in EVALUATIONS and not self.evaluation.tunable:
            found.append(
                f"tune: {self.evaluation.name} has no settings to tune; choose evaluation=NAME ({', '.join(TUNABLE)})"
            )
        if self.accelerator not in ACCELERATORS:
            found.append(f"accelerator: unknown (got {self.accelerator!r}); use one of {', '.join(ACCELERATORS)}")
        if self.accelerator == "gpu" and self.evaluation.name != "static":
            found.append(
                f"accelerator: evaluation={self.evaluation.name} runs on the CPU only (got 'gpu'); "
                "use accelerator=cpu or evaluation=static"
            )
        return found


@dataclass
class ExportConfig:
    """``lstm-lm export``.

    Attributes:
        checkpoint: The checkpoint to export.
        out: The bundle's folder.
        export: What is written and how it is checked.
        sampling: The preset that the bundle answers with by default; ``None`` is the run's own.
    """

    checkpoint: str = MISSING
    out: str = MISSING
    export: BundleExportConfig = field(default_factory=BundleExportConfig)
    sampling: SamplingConfig | None = None

    def problems(self) -> list[str]:
        """Every wrong setting, as ``path: what is wrong (got VALUE); remedy``."""
        return _problems_below(self)


Config = TrainConfig | EvalConfig | ExportConfig
SCHEMAS: dict[str, type[Config]] = {"train": TrainConfig, "eval": EvalConfig, "export": ExportConfig}


def _problems_below(config: Config) -> list[str]:
    """The problems of every part of ``config``, each with its full path."""
    found = []
    for node in fields(config):
        value = getattr(config, node.name)
        nodes = (
            {f"{node.name}.{name}": node_config for name, node_config in value.items()}
            if isinstance(value, dict)
            else {}
        )
        if hasattr(value, "problems"):
            nodes = {node.name: value}
        for path, node_config in nodes.items():
            problems = node_config.problems()
            problems += [
                text
                for text in _not_finite(node_config)
                if not any(p.startswith(text.partition(":")[0] + ":") for p in problems)
            ]
            found += [f"{path}.{problem}" for problem in problems]
    return found


def _not_finite(node_config: Any) -> list[str]:
    """Numbers that are ``nan`` or infinite: they pass a comparison that asks for the wrong side."""
    return [
        f"{node.name}: must be a finite number (got {getattr(node_config, node.name)})"
        for node in fields(node_config)
        if isinstance(getattr(node_config, node.name), float) and not math.isfinite(getattr(node_config, node.name))
    ]
