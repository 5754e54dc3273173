"""Config of the corpus and of its batches."""

from dataclasses import dataclass, replace
from pathlib import Path

HUB_CORPORA = ("wikitext2", "wikitext2_raw", "wikitext103")
CORPORA = (*HUB_CORPORA, "text_files", "python_docs")
TOKENIZERS = ("whitespace", "moses")
SPLITS = ("train", "valid", "test")


@dataclass
class DataConfig:
    """A corpus and its vocabulary."""

    source: str = "wikitext2"
    """One of ``CORPORA``."""
    dir: str | None = None
    """``text_files``: folder with train.txt, valid.txt and test.txt."""
    hub_path: str | None = None
    """Hub corpora: name of the dataset on the hub, or a local folder in the hub's layout."""
    hub_config: str | None = None
    """Hub corpora: config of the dataset."""
    tokenizer: str = "whitespace"
    """``whitespace`` for text that is already tokenized, ``moses`` for raw prose."""
    min_count: int = 1
    """Words with fewer occurrences in train become ``<unk>``."""
    max_size: int = 0
    """Largest vocabulary, ``<unk>`` and ``<eos>`` included; 0 means no limit."""
    cache_dir: str | None = None
    """Folder for encoded corpora; ``None`` means ``$LSTM_LM_CACHE``, else ``~/.cache/lstm_lm``."""

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.source not in CORPORA:
            problems.append(f"source: unknown corpus (got {self.source!r}); use one of {', '.join(CORPORA)}")
        if self.source == "text_files" and not self.dir:
            problems.append(
                "dir: text_files needs the folder with train.txt, valid.txt and test.txt; set data.dir=FOLDER"
            )
        if self.source in HUB_CORPORA and not (self.hub_path and self.hub_config):
            problems.append(f"hub_path: {self.source} needs hub_path and hub_config; choose it with data={self.source}")
        if self.tokenizer not in TOKENIZERS:
            problems.append(f"tokenizer: unknown (got {self.tokenizer!r}); use one of {', '.join(TOKENIZERS)}")
        if self.min_count < 1:
            problems.append(f"min_count: must be at least 1 (got {self.min_count})")
        if self.max_size < 0 or 0 < self.max_size < 4:
            problems.append(f"max_size: must be 0 (no limit) or at least 4 (got {self.max_size})")
        return problems

    def with_absolute_paths(self) -> "DataConfig":
        """The same corpus for another working directory."""
        hub_path = _absolute(self.hub_path) if self._has_local_hub else self.hub_path
        return replace(self, dir=_absolute(self.dir), hub_path=hub_path, cache_dir=_absolute(self.cache_dir))

    def without_local_paths(self) -> "DataConfig":
        """The same corpus without paths of this machine, to publish."""
        return replace(self, dir=None, cache_dir=None, hub_path=None if self._has_local_hub else self.hub_path)

    @property
    def _has_local_hub(self) -> bool:
        return self.hub_path is not None and Path(self.hub_path).expanduser().is_dir()


def _absolute(folder: str | None) -> str | None:
    return None if folder is None else str(Path(folder).expanduser().resolve())


@dataclass
class BatchingConfig:
    """How a split becomes streams and windows."""

    batch_size: int = 20
    """Number of contiguous streams in a training batch."""
    eval_batch_size: int = 20
    """Number of contiguous streams in a batch of the validations during training."""
    bptt_length: int = 35
    """Steps per window: gradients are truncated at its start."""
    jitter: bool = False
    """Draw the length of each window around ``bptt_length`` (Merity et al. 2017 §4.1)."""
    random_offset: bool = False
    """Start each epoch at a random word of the corpus, so that window boundaries differ between epochs."""

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        return [
            f"{name}: must be at least 1 (got {getattr(self, name)})"
            for name in ("batch_size", "eval_batch_size", "bptt_length")
            if getattr(self, name) < 1
        ]
