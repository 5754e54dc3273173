"""Training settings: the nodes of the config schema, and the arguments of the builders."""

from dataclasses import dataclass, field

from lstm_lm.settings import Settings
from lstm_lm.training.budget import parse_budget

OPTIMIZERS = ("adam", "adamw", "row_adamw", "sgd", "asgd")
SCHEDULES = ("constant", "cosine", "linear", "one_cycle", "plateau")
PRECISIONS = ("auto", "fp32", "bf16")

DEFAULT_EPOCHS = 10
# not Lightning's -1, with which it treats every resumed run as one that stopped in the middle of an epoch
NO_EPOCH_LIMIT = 10**9


@dataclass
class OptimizerConfig(Settings):
    """The optimizer and its settings.

    Attributes:
        name: ``adam``; ``adamw``; ``row_adamw``: AdamW that updates only the embedding and output rows that have a
            gradient, without momentum and with ``row_beta2``; ``sgd``; ``asgd``: SGD with averaged weights.
        lr: Learning rate; the peak if the schedule has one.
        weight_decay: L2 penalty (adam, sgd, asgd) or decoupled decay (adamw, row_adamw). Only matrices decay: decaying
            the biases would only erase the word frequencies.
        betas: Decay rates of the first and second moments (adam, adamw, row_adamw).
        row_beta2: Second-moment decay rate of the embedding and output rows, and of every bias (row_adamw). Most words
            are rare, so their rows need a longer memory.
        momentum: Momentum (sgd).
    """

    name: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    row_beta2: float = 0.999
    momentum: float = 0.0

    def conflicts(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.name not in OPTIMIZERS:
            problems.append(f"name: unknown optimizer (got {self.name!r}); use one of {', '.join(OPTIMIZERS)}")
        if not self.lr > 0.0:
            problems.append(f"lr: must be above 0 (got {self.lr}); try 1e-3")
        if self.weight_decay < 0.0:
            problems.append(f"weight_decay: must not be negative (got {self.weight_decay}); 0 switches it off")
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            problems.append(f"betas: needs two numbers in [0, 1) (got {list(self.betas)}); try [0.9,0.999]")
        if not 0.0 <= self.row_beta2 < 1.0:
            problems.append(f"row_beta2: must be in [0, 1) (got {self.row_beta2}); try 0.999")
        if not 0.0 <= self.momentum < 1.0:
            problems.append(f"momentum: must be in [0, 1) (got {self.momentum}); 0 switches it off")
        return problems


@dataclass
class ScheduleConfig(Settings):
    """The learning-rate schedule.

    Attributes:
        name: After the warm-up ``constant``, ``cosine`` or ``linear`` to ``final_fraction`` at the end of the run;
            ``one_cycle``: linear up, linear down, then in the last tenth down to ``final_fraction``;
            ``plateau``: multiplied by ``factor`` after more than ``patience`` validations without improvement.
        warmup_fraction: Fraction of the run in which the learning rate rises linearly to its peak (all but plateau).
        final_fraction: Final learning rate as a fraction of the peak (all but constant).
        factor: Multiplier (plateau).
        patience: Validations without improvement that are tolerated (plateau).
    """

    name: str = "constant"
    warmup_fraction: float = 0.0
    final_fraction: float = 0.01
    factor: float = 0.25
    patience: int = 0

    def conflicts(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.name not in SCHEDULES:
            problems.append(f"name: unknown schedule (got {self.name!r}); use one of {', '.join(SCHEDULES)}")
        if self.name == "one_cycle" and not 0.0 < self.warmup_fraction < 0.9:
            problems.append(
                f"warmup_fraction: one_cycle needs it above 0 and below 0.9, where its final decay starts "
                f"(got {self.warmup_fraction}); try 0.3"
            )
        elif not 0.0 <= self.warmup_fraction < 1.0:
            problems.append(f"warmup_fraction: must be in [0, 1) (got {self.warmup_fraction}); try 0.1")
        if not 0.0 <= self.final_fraction <= 1.0:
            problems.append(f"final_fraction: must be in [0, 1] (got {self.final_fraction}); try 0.01")
        if not 0.0 < self.factor < 1.0:
            problems.append(f"factor: must be between 0 and 1 (got {self.factor}); try 0.25")
        if self.patience < 0:
            problems.append(f"patience: must not be negative (got {self.patience})")
        return problems


@dataclass
class TrainerConfig(Settings):
    """Hardware, length and validations of a run.

    Attributes:
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        devices: Number of devices.
        strategy: ``auto`` or ``ddp``.
        precision: ``fp32``, ``bf16`` or, on one device, ``auto``: the faster of both, found by timing a matrix product
            at the start.
        cuda_graphs: On one GPU, capture the kernels of a window of ``batching.bptt_length`` as CUDA graphs and replay
            them in each step. Windows of other lengths run without, so use it with ``batching.jitter=false``.
        budget: Time for training and its validations together, as in ``90s``, ``10m``, ``8h`` or ``1h30m``: the
            schedule follows the elapsed time and ends with it. ``None`` is no limit.
        max_epochs: Passes over train. ``None`` is no limit with ``budget`` or ``max_steps``, otherwise 10.
        max_steps: Optimizer steps; -1 is no limit.
        gradient_clip_val: Largest gradient norm; 0 disables clipping.
        val_check_interval: Validation interval as a fraction of an epoch: 0.25 is four per epoch, 1.0 one.
        max_val_fraction: With a budget, a validation before the last one is skipped if validations would take more than
            this fraction of the elapsed time; 0 skips all of them.
        dropout_reference_epochs: Number of epochs that the model's dropouts were chosen for. Once the epochs of this
            run are known, every dropout is multiplied by ``sqrt(epochs / dropout_reference_epochs)``, at most by 2 and
            at most up to 0.75. ``None`` keeps them.
        limit_train_batches: Windows per epoch, for a quick run; 0 uses all.
        limit_val_batches: Windows per validation; 0 uses all.
        overfit_one_batch: Train on the first window repeatedly; the run fails unless the loss ends below 5 % of its
            first value.
    """

    accelerator: str = "cpu"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    cuda_graphs: bool = False
    budget: str | None = None
    max_epochs: int | None = None
    max_steps: int = -1
    gradient_clip_val: float = 0.25
    val_check_interval: float = 1.0
    max_val_fraction: float = 0.1
    dropout_reference_epochs: float | None = None
    limit_train_batches: int = 0
    limit_val_batches: int = 0
    overfit_one_batch: bool = False

    @property
    def budget_seconds(self) -> float | None:
        """The budget in seconds."""
        return None if self.budget is None else parse_budget(self.budget)

    @property
    def epoch_limit(self) -> int:
        """Epochs after which the run ends; ``NO_EPOCH_LIMIT`` if a budget or ``max_steps`` ends it."""
        if self.max_epochs is not None:
            return self.max_epochs
        return DEFAULT_EPOCHS if self.budget is None and self.max_steps == -1 else NO_EPOCH_LIMIT

    def conflicts(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.accelerator not in ("cpu", "gpu", "auto"):
            problems.append(f"accelerator: unknown (got {self.accelerator!r}); use one of cpu, gpu, auto")
        if self.strategy not in ("auto", "ddp"):
            problems.append(f"strategy: unknown (got {self.strategy!r}); use one of auto, ddp")
        if self.precision not in PRECISIONS:
            problems.append(f"precision: unknown (got {self.precision!r}); use one of {', '.join(PRECISIONS)}")
        if self.precision == "auto" and self.devices > 1:
            problems.append("precision: auto times each process separately and they may disagree; set fp32 or bf16")
        if self.devices < 1:
            problems.append(f"devices: must be at least 1 (got {self.devices})")
        if self.budget is not None:
            try:
                parse_budget(self.budget)
            except ValueError as error:
                problems.append(f"budget: {error}")
        if self.max_epochs is not None and self.max_epochs < 1:
            problems.append(f"max_epochs: must be at least 1 (got {self.max_epochs}); null is no limit with a budget")
        if self.max_steps < 1 and self.max_steps != -1:
            problems.append(f"max_steps: must be at least 1, or -1 for no limit (got {self.max_steps})")
        if self.gradient_clip_val < 0.0:
            problems.append(
                f"gradient_clip_val: must not be negative (got {self.gradient_clip_val}); 0 switches it off"
            )
        if not 0.0 < self.val_check_interval <= 1.0:
            problems.append(
                f"val_check_interval: must be above 0 and at most 1 (got {self.val_check_interval}); "
                "1.0 is once per epoch"
            )
        if not 0.0 <= self.max_val_fraction <= 1.0:
            problems.append(f"max_val_fraction: must be in [0, 1] (got {self.max_val_fraction}); try 0.1")
        if self.dropout_reference_epochs is not None and not self.dropout_reference_epochs > 0.0:
            problems.append(
                f"dropout_reference_epochs: must be above 0 (got {self.dropout_reference_epochs}); null switches it off"
            )
        if self.overfit_one_batch and self.max_steps == -1:
            problems.append("overfit_one_batch: needs trainer.max_steps; set trainer.max_steps=300")
        for name in ("limit_train_batches", "limit_val_batches"):
            if getattr(self, name) < 0:
                problems.append(f"{name}: must not be negative (got {getattr(self, name)}); 0 is no limit")
        return problems


@dataclass
class CallbacksConfig(Settings):
    """Early stopping, TensorBoard extras and the progress bar.

    Attributes:
        early_stopping_patience: Stop after this many validations without a better loss; 0 disables it.
        sample_prompt: Prompt of the text samples in TensorBoard.
        sample_words: Words per sample; 0 disables samples.
        progress_bar: Show a progress bar.
        projector_words: Words in TensorBoard's embedding projector, most frequent first; 0 disables it.
    """

    early_stopping_patience: int = 0
    sample_prompt: str = "The people that"
    sample_words: int = 30
    progress_bar: bool = True
    projector_words: int = 2000

    def conflicts(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        return [
            f"{name}: must not be negative (got {getattr(self, name)}); 0 switches it off"
            for name in ("early_stopping_patience", "sample_words", "projector_words")
            if getattr(self, name) < 0
        ]


@dataclass
class LoggerConfig(Settings):
    """TensorBoard logging.

    Attributes:
        tensorboard: Write event files.
        log_every_n_steps: Steps between two logged points.
    """

    tensorboard: bool = True
    log_every_n_steps: int = 20

    def conflicts(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        return (
            [f"log_every_n_steps: must be at least 1 (got {self.log_every_n_steps})"]
            if self.log_every_n_steps < 1
            else []
        )
