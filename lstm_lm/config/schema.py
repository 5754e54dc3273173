"""The schema of every command that is run through Hydra, made of the domain's own dataclasses."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from lstm_lm.data.spec import BatchingSpec, DataSpec
from lstm_lm.evaluation.spec import EvaluationSpec
from lstm_lm.export.spec import ExportSpec
from lstm_lm.inference.spec import SamplingSpec
from lstm_lm.nn.spec import LossSpec, ModelSpec
from lstm_lm.training.spec import CallbacksSpec, LoggerSpec, OptimizerSpec, ScheduleSpec, TrainerSpec


@dataclass
class TrainConfig:
    """``lstm-lm train`` and ``lstm-lm data``.

    Attributes:
        sampling: The preset that an export of this run answers with by default.
        presets: Every preset, by name: each gives a sample at each validation and is baked into an export.
        seed: Every random number of the run follows from it.
        resume: Checkpoint to go on from, with its optimizer, state and place in the epoch.
    """

    data: DataSpec = field(default_factory=DataSpec)
    batching: BatchingSpec = field(default_factory=BatchingSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    trainer: TrainerSpec = field(default_factory=TrainerSpec)
    callbacks: CallbacksSpec = field(default_factory=CallbacksSpec)
    logger: LoggerSpec = field(default_factory=LoggerSpec)
    sampling: SamplingSpec = field(default_factory=SamplingSpec)
    presets: dict[str, SamplingSpec] = field(default_factory=dict)
    seed: int = 1
    resume: str | None = None


@dataclass
class EvalConfig:
    """``lstm-lm eval``.

    Attributes:
        checkpoint: A checkpoint or a bundle.
        split: ``train``, ``valid`` or ``test``.
        data: The corpus; ``None`` is the one that the checkpoint was trained on.
        evaluation: How it is scored.
    """

    checkpoint: str = MISSING
    split: str = "test"
    data: DataSpec | None = None
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)


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
    export: ExportSpec = field(default_factory=ExportSpec)
    sampling: SamplingSpec | None = None
