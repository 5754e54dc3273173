"""A trained model on disk: what a checkpoint and a bundle have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lstm_lm.data.config import TOKENIZERS, DataConfig
from lstm_lm.errors import ConfigError
from lstm_lm.inference.backend import Backend
from lstm_lm.inference.blocklist import shipped_blocklist
from lstm_lm.inference.config import CacheConfig, SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.nn.config import ModelConfig
from lstm_lm.serialization import dataclass_from_plain, field_of, mapping, upgrade_format_1
from lstm_lm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from lstm_lm.nn.model import LSTMLanguageModel

FORMAT = 2
"""Format of checkpoints and bundles; format 1 is that of version 0.1."""
_MAX_PRESETS, _MAX_PATH = 1000, 4096


@dataclass(frozen=True)
class InitFrom:
    """The model whose weights a run started with."""

    name: str
    """Name of its bundle or run."""
    words: int
    """Words of the new vocabulary whose rows were copied."""
    vocabulary: int
    """Size of the new vocabulary."""

    def describe(self) -> str:
        """What was copied, in words."""
        return f"{self.words:,} of {self.vocabulary:,} words from {self.name}"


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """What a checkpoint and a bundle record about their model besides weights and words."""

    model: ModelConfig
    """Sizes of the network."""
    tokenizer: str
    """Name of the tokenizer of the training corpus."""
    data: DataConfig
    """The training corpus; a bundle has no local paths."""
    presets: dict[str, SamplingConfig]
    """Sampling presets by name."""
    default_preset: str
    """The preset for requests that name none."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    """The neural cache of requests that switch it on without settings."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """Scores by split."""
    training: dict[str, Any] = field(default_factory=dict)
    """How a bundle's weights were trained: seed, steps, versions; a checkpoint records it with its run."""
    init_from: InitFrom | None = None
    """The model whose weights the training started with, if there was one."""

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON and checkpoints."""
        return {
            "format": FORMAT,
            "model": asdict(self.model),
            "tokenizer": self.tokenizer,
            "data": asdict(self.data),
            "presets": {name: asdict(preset) for name, preset in self.presets.items()},
            "default_preset": self.default_preset,
            "cache": asdict(self.cache),
            "metrics": self.metrics,
            **({"training": self.training} if self.training else {}),
            **({} if self.init_from is None else {"init_from": asdict(self.init_from)}),
        }

    @classmethod
    def from_plain(cls, record: Mapping[str, Any]) -> Self:
        """Check and build the metadata from a checkpoint's or a bundle's record.

        Raises:
            ValueError: If it has a newer format, or a field is missing or invalid.
            DataError: If its vocabulary is invalid.
        """
        version = field_of(record, "format", int)
        if version > FORMAT:
            raise ValueError(f"format {version} is newer than {FORMAT}, the newest supported one; update lstm-lm")
        if version < 1:
            raise ValueError(f"format: must be from 1 to {FORMAT} (got {version})")
        return cls(**cls._fields(upgrade_format_1(record) if version == 1 else record))

    @classmethod
    def _fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        model = dataclass_from_plain(ModelConfig, field_of(record, "model", dict), "model")
        saved_presets = field_of(record, "presets", dict)
        if len(saved_presets) > _MAX_PRESETS:
            raise ValueError(f"presets: at most {_MAX_PRESETS} (got {len(saved_presets)})")
        presets = {
            name: dataclass_from_plain(SamplingConfig, p, f"presets.{name}") for name, p in saved_presets.items()
        }
        cache = dataclass_from_plain(CacheConfig, mapping(record.get("cache", {}), "cache"), "cache")
        tokenizer = field_of(record, "tokenizer", str)
        problems = [f"model.{problem}" for problem in model.problems()]
        problems += [f"presets.{name}.{problem}" for name, preset in presets.items() for problem in preset.problems()]
        problems += [f"cache.{problem}" for problem in cache.problems()]
        if tokenizer not in TOKENIZERS:
            problems.append(f"tokenizer: unknown (got {tokenizer!r})")
        data = dataclass_from_plain(DataConfig, field_of(record, "data", dict), "data").without_code()
        for name, value in vars(data).items():
            if isinstance(value, str) and len(value) > _MAX_PATH:
                problems.append(f"data.{name}: is longer than any path ({len(value)} characters)")
        if problems:
            raise ValueError("; ".join(problems))
        default_preset = field_of(record, "default_preset", str)
        if default_preset not in presets:
            raise ValueError(f"default_preset: unknown (got {default_preset!r}); use one of {', '.join(presets)}")
        return {
            "model": model,
            "tokenizer": tokenizer,
            "data": data,
            "presets": presets,
            "default_preset": default_preset,
            "cache": cache,
            "metrics": field_of(record, "metrics", dict),
            "training": mapping(record.get("training", {}), "training"),
            "init_from": dataclass_from_plain(InitFrom, init, "init_from")
            if (init := record.get("init_from"))
            else None,
        }


_UNNAMED = frozenset(("bundle", "export", "exports", "model", "pretrained", "train", "best", "last"))
"""Folders and files that are named for what they are."""


@dataclass(frozen=True, kw_only=True)
class SavedModel(ABC):
    """A checkpoint or a bundle, checked. ``load_model`` reads either."""

    path: Path
    """The checkpoint's file or the bundle's folder."""
    metadata: ModelMetadata
    vocabulary: Vocabulary

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return self.path.resolve().name

    @property
    def title(self) -> str:
        """A name for people: that of the bundle's or run's folder, else of the corpus."""
        path = self.path.resolve()
        if path.suffix == ".ckpt":
            path = path.parent.parent if path.parent.name == "checkpoints" else path.with_suffix("")
        return self.metadata.data.corpus_name if path.name in _UNNAMED else path.name

    @property
    def tuned(self) -> dict[str, dict[str, float]]:
        """Settings from ``lstm-lm eval … tune=true``, by evaluation; a bundle has none."""
        return {}

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Number of weights; tied ones count once.

        Raises:
            CheckpointError, BundleError: If the weights cannot be read.
        """

    @cached_property
    def network(self) -> LSTMLanguageModel:
        """The network in eval mode, on the CPU.

        Raises:
            CheckpointError: If the weights of a checkpoint do not fit its metadata.
            BundleError: If those of a bundle do not.
        """
        return self._build_network()

    @abstractmethod
    def _build_network(self) -> LSTMLanguageModel: ...

    def corpus(self, given: DataConfig | None = None) -> DataConfig:
        """The corpus to score the model on, with the model's tokenizer.

        Args:
            given: A corpus; ``None`` is the training corpus.

        Raises:
            ConfigError: If ``given`` has problems, or the training corpus is not where it was.
        """
        data = replace(given or self.metadata.data, tokenizer=self.metadata.tokenizer)
        # one problem with the remedy: where the corpus is now
        if given is None and (reason := data.not_found()):
            raise ConfigError([f"data: the corpus of {self.path} {reason}"])
        if problems := [f"data.{problem}" for problem in data.problems()]:
            raise ConfigError(problems)
        return data

    @abstractmethod
    def backend(self, choice: str = "auto", threads: int = 0) -> Backend:
        """What runs the network for an engine: ``int8``, ``onnx`` or ``torch``; a checkpoint has ``torch`` only.

        Args:
            choice: ``auto`` is the first of them that there is a file for.
            threads: Threads per step; 0 is the backend's default.

        Raises:
            ConfigError: If the backend is unknown, or there is no file for it.
            CheckpointError, BundleError: If the file does not fit the model.
        """

    def engine(
        self,
        backend: str = "auto",
        prefix_cache_size: int = 0,
        blocked: Collection[str] | None = None,
        threads: int = 0,
    ) -> Engine:
        """An engine that predicts and generates with this model.

        Args:
            backend: As in :meth:`backend`.
            prefix_cache_size: Maximum number of prefixes whose state is cached; 0 disables the cache.
            blocked: Words that are never suggested; ``None`` is the shipped block list.
            threads: As in :meth:`backend`.

        Raises:
            ConfigError, CheckpointError, BundleError: As :meth:`backend`.
        """
        return Engine(
            self.backend(backend, threads),
            self.vocabulary,
            self.metadata.presets,
            self.metadata.default_preset,
            prefix_cache_size,
            shipped_blocklist() if blocked is None else blocked,
            self.metadata.cache,
        )
