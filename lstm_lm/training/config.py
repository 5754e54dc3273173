"""Settings of a training run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.hub import is_hub_address
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.cells import DEFAULT_CELL
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.settings import Settings, setting
from lstm_lm.training.averaging import AveragingConfig
from lstm_lm.training.budget import parse_duration
from lstm_lm.training.targets import group_problems

CALLBACK_ARGUMENTS = ("vocabulary", "presets", "seed", "training_metrics", "run_dir")
"""What a callback gets from the run if it takes it and its config does not set it."""
LOGGER_ARGUMENTS = ("save_dir", "run_dir", "name", "run_name", "resumed_step")
"""The same for a logger."""
EMBEDDING_INITS = ("random", "cooccurrence")
OPTIMIZER: dict[str, Any] = {"_target_": "torch.optim.Adam", "lr": 1e-3}
SCHEDULE: dict[str, Any] = {"_target_": "lstm_lm.training.schedules.constant"}
"""The default optimizer and schedule."""
RESUME_AUTO = "auto"
"""``resume=auto``: start a run, continue it, or do nothing if it is finished."""
PRECISIONS = ("auto", "fp32", "bf16")

DEFAULT_EPOCHS = 10
# not Lightning's -1, with which it treats every resumed run as one that stopped in the middle of an epoch
NO_EPOCH_LIMIT = 10**9


@dataclass
class TrainerConfig(Settings):
    """Hardware, length and validations of a run."""

    accelerator: str = setting("cpu", choices=("cpu", "gpu", "auto"), help="The kind of device.")
    devices: int = setting(1, ge=1, help="Number of devices of each machine.")
    num_nodes: int = setting(1, ge=1, help="Number of machines; start the command on each, for example with torchrun.")
    strategy: str = setting("auto", choices=("auto", "ddp"), help="ddp trains with one process per device.")
    ddp_timeout: str = setting(
        "10m",
        help="How long a process waits for the others, as in 90s or 1h: for all to join, and in each exchange.",
    )
    precision: str = setting(
        "auto",
        choices=PRECISIONS,
        help="auto is the faster of fp32 and bf16 on one device, found by timing training steps at the start.",
    )
    threads: int = setting(
        0,
        ge=0,
        special={0: "the fastest number"},
        help="Threads of a training step on the CPU. The fastest number, at most that of the cores or OMP_NUM_THREADS, "
        "is found by timing steps at the start and again during the run, as other processes come and go. Sums may then "
        "differ in the last bits between two runs: set a number for runs that are equal bit for bit.",
    )
    cuda_graphs: bool = setting(
        False,
        help="On one GPU, capture the kernels of a window of batching.bptt_length as CUDA graphs and replay them in "
        "each step. Windows of other lengths run without, so use it with batching.jitter=false.",
    )
    budget: str | None = setting(
        None,
        special={None: "no limit"},
        help="Time for training and its validations together, as in 90s, 10m, 8h or 1h30m: the schedule follows the "
        "elapsed time and ends with it.",
    )
    max_epochs: int | None = setting(
        None,
        ge=1,
        special={None: "no limit with a budget or max_steps, otherwise 10"},
        help="Passes over train.",
    )
    max_steps: int = setting(-1, ge=1, special={-1: "no limit"}, help="Optimizer steps.")
    gradient_clip_val: float = setting(0.25, ge=0, special={0: "off"}, help="Largest gradient norm.")
    val_check_interval: float = setting(
        1.0,
        gt=0,
        le=1,
        remedy="1.0 is once per epoch",
        help="Validation interval as a fraction of an epoch: 0.25 is four per epoch.",
    )
    max_val_fraction: float = setting(
        0.1,
        ge=0,
        le=1,
        help="With a budget, a validation before the last one is skipped if validations would take more than this "
        "fraction of the elapsed time.",
    )
    reference_epochs: float | None = setting(
        None,
        gt=0,
        special={None: "off"},
        help="Number of epochs that the recipe was tuned for. Once the epochs of this run are known, every dropout is "
        "multiplied by sqrt(epochs / reference_epochs), at most by 2 and at most up to 0.75.",
    )
    reference_steps: int | None = setting(
        None,
        gt=0,
        special={None: "off"},
        help="Number of optimizer steps that the recipe was tuned for. With it, learning rate, weight decay and "
        "row_beta2 are scaled to the steps of the run.",
    )
    limit_train_batches: int = setting(0, ge=0, special={0: "no limit"}, help="Windows per epoch, for a quick run.")
    limit_val_batches: int = setting(0, ge=0, special={0: "no limit"}, help="Windows per validation.")
    log_every_n_steps: int = setting(20, ge=1, help="Steps between two points in the loggers.")
    overfit_one_batch: bool = setting(
        False,
        help="Train on the first window repeatedly; the run fails unless the loss ends below 5 % of its first value.",
    )
    arguments: dict[str, Any] = setting(
        {}, help="Further arguments of Lightning's Trainer; trainer.NAME=VALUE sets one."
    )

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds."""
        return None if self.budget is None else parse_duration(self.budget)

    @property
    def epoch_limit(self) -> int:
        """Epochs after which the run ends; ``NO_EPOCH_LIMIT`` if a budget or ``max_steps`` ends it."""
        if self.max_epochs is not None:
            return self.max_epochs
        return DEFAULT_EPOCHS if self.budget is None and self.max_steps == -1 else NO_EPOCH_LIMIT

    @property
    def num_processes(self) -> int:
        """Processes of the run, one per device of each machine."""
        return self.devices * self.num_nodes

    @property
    def uses_processes(self) -> bool:
        """Whether the run has a process group, which may have one member."""
        return self.strategy == "ddp" or self.num_processes > 1

    def conflicts(self) -> list[str]:
        """Settings that are valid, but not together, and durations that are none."""
        problems = []
        if self.precision == "auto" and self.num_processes > 1:
            problems.append("precision: auto times each process separately and they may disagree; set fp32 or bf16")
        for name, duration in (("ddp_timeout", self.ddp_timeout), ("budget", self.budget)):
            try:
                if duration is not None:
                    parse_duration(duration)
            except ValueError as error:
                problems.append(f"{name}: {error}")
        if self.reference_steps is not None and self.reference_epochs is None:
            problems.append(
                f"reference_steps: needs trainer.reference_epochs (got {self.reference_steps} without); set it to the "
                "epochs that the recipe was tuned for, or reference_steps to null"
            )
        if self.overfit_one_batch and self.max_steps == -1:
            problems.append("overfit_one_batch: needs trainer.max_steps; set trainer.max_steps=300")
        return problems


@dataclass
class TrainConfig(Settings):
    """``lstm-lm train`` and ``lstm-lm data``."""

    data: DataConfig = field(default_factory=DataConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: dict[str, Any] = setting(OPTIMIZER, help="_target_, the path of an optimizer, and its arguments.")
    schedule: dict[str, Any] = setting(
        SCHEDULE,
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
    name: str | None = setting(
        None, special={None: "what was chosen on the command line"}, help="Name of the run in loggers and reports."
    )
    tags: list[str] = setting([], help="Words to find the run by: lstm-lm runs --where tag=TAG.")
    notes: str = setting("", help="Text for the run's report.")
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
        problems = [f"model.{problem}" for problem in self.model.cell_problems()]
        if self.trainer.cuda_graphs and self.model.cell != DEFAULT_CELL:
            problems.append(
                f"trainer.cuda_graphs: only {DEFAULT_CELL} was tested with them (got model.cell={self.model.cell}); "
                "set trainer.cuda_graphs=false"
            )
        problems += self._target_problems()
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
        if self.init_from and not is_hub_address(self.init_from) and not Path(self.init_from).exists():
            problems.append(f"init_from: no such file or folder (got {self.init_from}); give a run folder or bundle")
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
