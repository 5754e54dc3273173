"""Fixtures: a small corpus and the config of a short run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.real_commands import write_corpus
from helpers.small_runs import ConfigFactory, optimizer_config

from lstm_lm.data.config import BatchingConfig, DataConfig
from lstm_lm.nn.config import LossConfig, ModelConfig
from lstm_lm.training.config import TrainConfig, TrainerConfig


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def config(corpus: Path) -> ConfigFactory:
    """Builds configs of a short run: two epochs of 39 windows, with everything that draws random numbers enabled."""

    def make(**overrides: Any) -> TrainConfig:
        return replace(
            TrainConfig(
                data=DataConfig(source="text_files", dir=str(corpus)),
                batching=BatchingConfig(8, 4, 30, jitter=True, random_offset=True),
                model=ModelConfig(16, [24, 16], True, 0.1, 0.1, 0.1, 0.1, 0.1),
                loss=LossConfig(activation_reg=1.0, temporal_activation_reg=1.0),
                optimizer=optimizer_config("adamw", lr=1e-2),
                trainer=TrainerConfig(precision="fp32", threads=1, max_epochs=2),
            ),
            **overrides,
        )

    return make
