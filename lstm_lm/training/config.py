"""How a network is trained, as plain data: the config schema and the arguments of the builders at once."""

from dataclasses import dataclass, field

from lstm_lm.training.budget import parse_budget

OPTIMIZERS = ("adam", "adamw", "row_adamw", "sgd", "asgd")
SCHEDULES = ("constant", "cosine", "linear", "one_cycle", "plateau")
PRECISIONS = ("auto", "fp32", "bf16")

DEFAULT_EPOCHS = 10
# Lightning's own -1 makes it take a resumed run for one that was broken off in mid-epoch, wherever it was saved
NO_EPOCH_LIMIT = 10**9


@dataclass
class OptimizerConfig:
    """An optimizer.

    Attributes:
        name: ``adam``; ``adamw``; ``row_adamw``: AdamW with ``row_beta2``, and without momentum for the rows of words,
            of which it updates only those that a step has met; ``sgd``; ``asgd``: SGD whose weights are averaged.
        lr: Learning rate; the peak of a schedule that has one.
        weight_decay: L2 penalty (adam, sgd, asgd) or decoupled decay (adamw, row_adamw), of matrices alone: a bias
            that decays would only forget how frequent a word is.
        betas: Decay of the running means of the gradient and of its square (adam, adamw, row_adamw).
        row_beta2: Decay of the mean of the square for what belongs to single words, most of which are rare: the rows
            of embedding and output weights, and with them every bias (row_adamw).
        momentum: Momentum (sgd).
    """

    name: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    row_beta2: float = 0.999
    momentum: float = 0.0

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.name not in OPTIMIZERS:
            found.append(f"name: unknown optimizer (got {self.name!r}); use one of {', '.join(OPTIMIZERS)}")
        if not self.lr > 0.0:
            found.append(f"lr: must be above 0 (got {self.lr}); try 1e-3")
        if self.weight_decay < 0.0:
            found.append(f"weight_decay: must not be negative (got {self.weight_decay}); 0 switches it off")
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            found.append(f"betas: needs two numbers in [0, 1) (got {list(self.betas)}); try [0.9,0.999]")
        if not 0.0 <= self.row_beta2 < 1.0:
            found.append(f"row_beta2: must be in [0, 1) (got {self.row_beta2}); try 0.999")
        if not 0.0 <= self.momentum < 1.0:
            found.append(f"momentum: must be in [0, 1) (got {self.momentum}); 0 switches it off")
        return found


@dataclass
class ScheduleConfig:
    """How the learning rate changes.

    Attributes:
        name: After the warm-up ``constant``, ``cosine`` or ``linear`` to ``final_fraction`` at the end of the run;
            ``one_cycle``: linear up, linear down, and in the last tenth to ``final_fraction``;
            ``plateau``: multiplied by ``factor`` when the valid loss has not fallen for ``patience`` validations.
        warmup_fraction: Share of the run in which the learning rate rises linearly to its peak (all but plateau).
        final_fraction: Last learning rate as a share of the peak (all but constant).
        factor: Multiplier (plateau).
        patience: Validations without improvement before it (plateau).
    """

    name: str = "constant"
    warmup_fraction: float = 0.0
    final_fraction: float = 0.01
    factor: float = 0.25
    patience: int = 0

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.name not in SCHEDULES:
            found.append(f"name: unknown schedule (got {self.name!r}); use one of {', '.join(SCHEDULES)}")
        if self.name == "one_cycle" and not 0.0 < self.warmup_fraction < 0.9:
            found.append(
                f"warmup_fraction: one_cycle needs it above 0 and below 0.9, where its annihilation begins "
                f"(got {self.warmup_fraction}); try 0.3"
            )
        elif not 0.0 <= self.warmup_fraction < 1.0:
            found.append(f"warmup_fraction: must be in [0, 1) (got {self.warmup_fraction}); try 0.1")
        if not 0.0 <= self.final_fraction <= 1.0:
            found.append(f"final_fraction: must be in [0, 1] (got {self.final_fraction}); try 0.01")
        if not 0.0 < self.factor < 1.0:
            found.append(f"factor: must be between 0 and 1 (got {self.factor}); try 0.25")
        if self.patience < 0:
            found.append(f"patience: must not be negative (got {self.patience})")
        return found


@dataclass
class TrainerConfig:
    """The machine and the length of a run.

    Attributes:
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        devices: Number of devices.
        strategy: ``auto`` or ``ddp``.
        precision: ``fp32``, ``bf16`` or, on one device, ``auto``: the faster of both, found by timing a matrix product
            at the start.
        budget: Time for training and its validations together, as in ``90s``, ``10m``, ``8h`` or ``1h30m``: the
            schedule is driven by the clock and ends with it. ``None`` is no limit.
        max_epochs: Passes over train; ``None`` is no limit with ``budget`` or ``max_steps``, else 10.
        max_steps: Ends the run after so many steps; -1 is no limit.
        gradient_clip_val: Largest norm of the gradient; 0 is off.
        val_check_interval: Validations: a share of an epoch (0.25 is four an epoch) or 1.0.
        max_val_fraction: With a budget, a validation before the last one is skipped if validations would take more than
            this fraction of the elapsed time; 0 skips them all.
        dropout_reference_epochs: The number of epochs that the model's dropouts were chosen for. Once the number of
            epochs of this run is known, every dropout is multiplied by ``sqrt(epochs / dropout_reference_epochs)``,
            by 2 at most and up to 0.75 at most. ``None`` keeps them.
        limit_train_batches: Use only so many windows of each epoch, for a quick look; 0 is all.
        limit_val_batches: The same for validations; 0 is all.
        overfit_one_batch: Train on the first window again and again; the run fails unless the loss ends below 5 %
            of its start.
    """

    accelerator: str = "cpu"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "auto"
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
        """Epochs that end the run; ``NO_EPOCH_LIMIT`` where something else does."""
        if self.max_epochs is not None:
            return self.max_epochs
        return DEFAULT_EPOCHS if self.budget is None and self.max_steps == -1 else NO_EPOCH_LIMIT

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.accelerator not in ("cpu", "gpu", "auto"):
            found.append(f"accelerator: unknown (got {self.accelerator!r}); use one of cpu, gpu, auto")
        if self.strategy not in ("auto", "ddp"):
            found.append(f"strategy: unknown (got {self.strategy!r}); use one of auto, ddp")
        if self.precision not in PRECISIONS:
            found.append(f"precision: unknown (got {self.precision!r}); use one of {', '.join(PRECISIONS)}")
        if self.precision == "auto" and self.devices > 1:
            found.append(
                "precision: each process would time auto for itself and may decide otherwise; set fp32 or bf16"
            )
        if self.devices < 1:
            found.append(f"devices: must be at least 1 (got {self.devices})")
        if self.budget is not None:
            try:
                parse_budget(self.budget)
            except ValueError as error:
                found.append(f"budget: {error}")
        if self.max_epochs is not None and self.max_epochs < 1:
            found.append(f"max_epochs: must be at least 1 (got {self.max_epochs}); null is no limit with a budget")
        if self.max_steps < 1 and self.max_steps != -1:
            found.append(f"max_steps: must be at least 1, or -1 for no limit (got {self.max_steps})")
        if self.gradient_clip_val < 0.0:
            found.append(f"gradient_clip_val: must not be negative (got {self.gradient_clip_val}); 0 switches it off")
        if not 0.0 < self.val_check_interval <= 1.0:
            found.append(
                f"val_check_interval: must be above 0 and at most 1 (got {self.val_check_interval}); "
                "1.0 is once per epoch"
            )
        if not 0.0 <= self.max_val_fraction <= 1.0:
            found.append(f"max_val_fraction: must be in [0, 1] (got {self.max_val_fraction}); try 0.1")
        if self.dropout_reference_epochs is not None and not self.dropout_reference_epochs > 0.0:
            found.append(
                f"dropout_reference_epochs: must be above 0 (got {self.dropout_reference_epochs}); null switches it off"
            )
        if self.overfit_one_batch and self.max_steps == -1:
            found.append("overfit_one_batch: needs trainer.max_steps; set trainer.max_steps=300")
        for name in ("limit_train_batches", "limit_val_batches"):
            if getattr(self, name) < 0:
                found.append(f"{name}: must not be negative (got {getattr(self, name)}); 0 is no limit")
        return found


@dataclass
class CallbacksConfig:
    """What goes on beside the training.

    Attributes:
        early_stopping_patience: Stop when so many validations brought no better loss; 0 is off.
        sample_prompt: The text that the samples in TensorBoard go on from.
        sample_words: Words of each sample; 0 is no samples.
        progress_bar: Show a progress bar.
        projector_words: Words of the embedding projector, most frequent first; 0 is off.
    """

    early_stopping_patience: int = 0
    sample_prompt: str = "The people that"
    sample_words: int = 30
    progress_bar: bool = True
    projector_words: int = 2000

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        return [
            f"{name}: must not be negative (got {getattr(self, name)}); 0 switches it off"
            for name in ("early_stopping_patience", "sample_words", "projector_words")
            if getattr(self, name) < 0
        ]


@dataclass
class LoggerConfig:
    """What TensorBoard gets.

    Attributes:
        tensorboard: Write event files.
        log_every_n_steps: Steps between two points of a training curve.
    """

    tensorboard: bool = True
    log_every_n_steps: int = 20

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        return (
            [f"log_every_n_steps: must be at least 1 (got {self.log_every_n_steps})"]
            if self.log_every_n_steps < 1
            else []
        )
