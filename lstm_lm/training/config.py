"""Settings of the Trainer: a node of the config schema, and the argument of the builders."""

from dataclasses import dataclass
from typing import Any

from lstm_lm.settings import Settings, setting
from lstm_lm.training.budget import parse_budget

PRECISIONS = ("auto", "fp32", "bf16")

DEFAULT_EPOCHS = 10
# not Lightning's -1, with which it treats every resumed run as one that stopped in the middle of an epoch
NO_EPOCH_LIMIT = 10**9


@dataclass
class TrainerConfig(Settings):
    """Hardware, length and validations of a run."""

    accelerator: str = setting("cpu", choices=("cpu", "gpu", "auto"), help="The kind of device.")
    devices: int = setting(1, ge=1, help="Number of devices.")
    strategy: str = setting("auto", choices=("auto", "ddp"), help="ddp trains with one process per device.")
    precision: str = setting(
        "auto",
        choices=PRECISIONS,
        help="auto is the faster of fp32 and bf16 on one device, found by timing a matrix product at the start.",
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
    dropout_reference_epochs: float | None = setting(
        None,
        gt=0,
        special={None: "off"},
        help="Number of epochs that the model's dropouts were chosen for. Once the epochs of this run are known, every "
        "dropout is multiplied by sqrt(epochs / dropout_reference_epochs), at most by 2 and at most up to 0.75.",
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
        return None if self.budget is None else parse_budget(self.budget)

    @property
    def epoch_limit(self) -> int:
        """Epochs after which the run ends; ``NO_EPOCH_LIMIT`` if a budget or ``max_steps`` ends it."""
        if self.max_epochs is not None:
            return self.max_epochs
        return DEFAULT_EPOCHS if self.budget is None and self.max_steps == -1 else NO_EPOCH_LIMIT

    @property
    def num_processes(self) -> int:
        """Processes of the run, one per device of each node."""
        nodes = self.arguments.get("num_nodes", 1)
        return self.devices * (nodes if isinstance(nodes, int) else 1)

    def conflicts(self) -> list[str]:
        """Settings that are valid, but not together, and a budget that is not a duration."""
        problems = []
        if self.precision == "auto" and self.num_processes > 1:
            problems.append("precision: auto times each process separately and they may disagree; set fp32 or bf16")
        if self.budget is not None:
            try:
                parse_budget(self.budget)
            except ValueError as error:
                problems.append(f"budget: {error}")
        if self.overfit_one_batch and self.max_steps == -1:
            problems.append("overfit_one_batch: needs trainer.max_steps; set trainer.max_steps=300")
        return problems
