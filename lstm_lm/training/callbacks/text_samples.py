"""Text samples during a run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import lightning as L
from typing_extensions import override

from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.inference.torch_backend import TorchBackend
from lstm_lm.serialization import check_plain, mapping
from lstm_lm.text.vocabulary import Vocabulary
from lstm_lm.training.loggers import log_text, shows_text
from lstm_lm.training.module import LanguageModelModule


class TextSamples(L.Callback):
    """Generates a sample per preset at each validation, with the engine that also serves requests.

    Args:
        vocabulary: Vocabulary of the network.
        presets: Sampling presets by name.
        seed: Sampling seed, so that the samples of two runs are comparable.
        prompt: Text that the samples continue.
        num_words: Words per sample.

    Attributes:
        latest: The samples of the last validation, by preset.

    Raises:
        ValueError: If ``num_words`` is below 1.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        presets: Mapping[str, SamplingConfig],
        seed: int,
        prompt: str = "The people that",
        num_words: int = 30,
    ) -> None:
        if num_words < 1:
            raise ValueError(f"num_words: must be at least 1 (got {num_words}); ~callbacks.text_samples: no samples")
        self.vocabulary = vocabulary
        self.presets = {name: dataclasses.replace(preset, seed=seed) for name, preset in presets.items()}
        self.prompt = prompt
        self.num_words = num_words
        self.latest: dict[str, str] = {}

    @override
    def on_validation_epoch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: LanguageModelModule
    ) -> None:
        # not in on_validation_end: AveragedWeights restores the raw weights in its own on_validation_epoch_end
        if not self.presets or not trainer.is_global_zero:
            return
        loggers = [logger for logger in trainer.loggers if shows_text(logger)]
        engine = Engine(TorchBackend(pl_module.model), self.vocabulary, self.presets, next(iter(self.presets)))
        for name, preset in self.presets.items():
            text = self.latest[name] = engine.generate(self.prompt, preset, self.num_words).text
            for logger in loggers:
                log_text(logger, f"sample/{name}", text, trainer.global_step)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"latest": self.latest}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        check_plain(state_dict["latest"], "latest")
        self.latest = mapping(state_dict["latest"], "latest")
