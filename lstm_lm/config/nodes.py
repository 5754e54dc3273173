"""The schema as nodes of OmegaConf: strict, except for nodes that take keys of the user's choice."""

from dataclasses import fields

from omegaconf import DictConfig, OmegaConf

from lstm_lm.config.schema import Config, EvalConfig, ExportConfig, TrainConfig
from lstm_lm.training.config import TrainerConfig

OPEN = ("optimizer", "schedule", "trainer", "callbacks", "logger")
"""Open nodes of ``TrainConfig``: their keys are checked against the signature of what takes them."""


def config_node(schema: type[Config]) -> DictConfig:
    """The schema of a command as Hydra merges it."""
    node: DictConfig = OmegaConf.structured(schema)
    for name in OPEN if schema is TrainConfig else ():
        if OmegaConf.get_type(node, name) is dict:
            node[name] = {}  # the defaults are for Python; an option of the group has its own
        OmegaConf.set_struct(node[name], False)
    return node


def to_dataclass(config: DictConfig) -> Config:
    """Convert a composed config to its dataclass and resolve interpolations."""
    if OmegaConf.get_type(config) is TrainConfig:
        config = config.copy()
        OmegaConf.set_readonly(config, False)
        own = {node.name for node in fields(TrainerConfig)}
        for name in [str(key) for key in config.trainer if key not in own]:
            config.trainer.arguments[name] = config.trainer.pop(name)
    result = OmegaConf.to_object(config)
    assert isinstance(result, TrainConfig | EvalConfig | ExportConfig)
    return result
