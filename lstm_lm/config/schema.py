"""The config schema of every command that runs through Hydra, composed of the dataclasses of each layer."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstm_lm.config.targets import group_problems
from lstm_lm.data.config import SPLITS, BatchingConfig, DataConfig
from lstm_lm.evaluation.config import EVALUATIONS, TUNABLE, EvaluationConfig
from lstm_lm.export.config import BundleExportConfig
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.cells import DEFAULT_CELL
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.settings import REQUIRED, Settings, setting
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
class TrainConfig(Settings):
    """``lstm-lm train`` and ``lstm-lm data``."""

    data: DataConfig = field(default_factory=DataConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: dict[str, Any] = setting(
        {"_target_": "torch.optim.Adam", "lr": 1e-3}, help="_target_, the path of an optimizer, and its arguments."
    )
    schedule: dict[str, Any] = setting(
        {"_target_": "lstm_lm.training.schedules.constant"},
        help="_target_, the path of a learning-rate scheduler, and its arguments.",
    )
    averaging: AveragingConfig = field(default_factory=AveragingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: dict[str, Any] = setting(
        {}, help="Callbacks by name, each with _target_ and its arguments; null leaves one out."
    )
    logger: dict[str, Any] = setting({}, help="Loggers by name, like callbacks.")
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Default preset of an export of this run."""
    presets: dict[str, SamplingConfig] = field(default_factory=dict)
    """All presets by name: each generates a sample at every validation and is part of an export."""
    embedding_init: str = setting(
        "random",
        choices=EMBEDDING_INITS,
        help="cooccurrence initializes the embedding with word vectors from co-occurrence counts on train. They take "
        "seconds to compute and save the first epochs.",
    )
    seed: int = setting(1, ge=0, le=2**32 - 1, help="Seed of every random number generator of the run.")
    init_from: str | None = setting(
        None,
        special={None: "new weights"},
        help="Checkpoint, bundle or run folder whose weights the run starts with. The optimizer is new, and the corpus "
        "may be another one: the rows of words that both vocabularies have are copied.",
    )
    resume: str | None = setting(
        None,
        special={None: "a new run"},
        help="Run folder or checkpoint to resume: weights, optimizer, LSTM state, position in the epoch, and the "
        "settings that are not given. auto is the newest checkpoint of hydra.run.dir, if there is one.",
    )

    def conflicts(self) -> list[str]:
        """Settings of different groups that do not fit together."""
        problems = self._target_problems()
        problems += [f"model.{problem}" for problem in self.model.cell_problems()]
        if self.trainer.cuda_graphs and self.model.cell != DEFAULT_CELL:
            problems.append(
                f"trainer.cuda_graphs: only {DEFAULT_CELL} was tested with them (got model.cell={self.model.cell}); "
                "set trainer.cuda_graphs=false"
            )
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
        if self.resume not in (None, RESUME_AUTO) and not Path(self.resume).is_file():
            problems.append(f"resume: no such file (got {self.resume}); give a run folder, a checkpoint, or auto")
        if self.init_from is not None and not Path(self.init_from).exists():
            problems.append(f"init_from: no such file or folder (got {self.init_from})")
        if self.init_from is not None and self.resume not in (None, RESUME_AUTO):
            problems.append(
                "init_from: cannot be combined with resume, which restores the run's own weights; remove one"
            )
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
class EvalConfig(Settings):
    """``lstm-lm eval``."""

    checkpoint: str = setting(REQUIRED, help="A checkpoint or a bundle.")
    split: str = setting("test", choices=SPLITS, help="The split to score.")
    data: DataConfig | None = None
    """The corpus; ``None`` is the one that the checkpoint was trained on."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tune: bool = setting(
        False, help="First tune the settings of the evaluation on valid and save them in the checkpoint."
    )
    accelerator: str = setting(
        "cpu",
        choices=ACCELERATORS,
        help="gpu works with evaluation=static only; auto is a GPU if there is one and it can be used.",
    )

    def conflicts(self) -> list[str]:
        """Settings of different groups that do not fit together."""
        problems = []
        if self.tune and self.evaluation.name in EVALUATIONS and not self.evaluation.tunable:
            problems.append(
                f"tune: {self.evaluation.name} has no settings to tune; choose evaluation=NAME ({', '.join(TUNABLE)})"
            )
        if self.accelerator == "gpu" and self.evaluation.name != "static":
            problems.append(
                f"accelerator: evaluation={self.evaluation.name} runs on the CPU only (got 'gpu'); "
                "use accelerator=cpu or evaluation=static"
            )
        return problems


@dataclass
class ExportConfig(Settings):
    """``lstm-lm export``."""

    checkpoint: str = setting(REQUIRED, help="The checkpoint to export.")
    out: str = setting(REQUIRED, help="The folder of the bundle.")
    export: BundleExportConfig = field(default_factory=BundleExportConfig)
    sampling: SamplingConfig | None = None
    """Default preset of the bundle; ``None`` keeps the run's default."""


Config = TrainConfig | EvalConfig | ExportConfig
SCHEMAS: dict[str, type[Config]] = {"train": TrainConfig, "eval": EvalConfig, "export": ExportConfig}
