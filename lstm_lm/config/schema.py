"""The config schema of each command that runs through Hydra; each dataclass is defined by its owner."""

from lstm_lm.evaluation.config import EvalConfig
from lstm_lm.export.config import ExportConfig
from lstm_lm.training.config import TrainConfig

Config = TrainConfig | EvalConfig | ExportConfig
SCHEMAS: dict[str, type[Config]] = {"train": TrainConfig, "eval": EvalConfig, "export": ExportConfig}
