"""Config of the corpus and of its batches."""

from dataclasses import dataclass, replace
from pathlib import Path

from lstm_lm.settings import Settings, setting

HUB_CORPORA = ("wikitext2", "wikitext2_raw", "wikitext103")
CORPORA = (*HUB_CORPORA, "text_files", "python_docs")
TOKENIZERS = ("whitespace", "moses")
SPLITS = ("train", "valid", "test")


@dataclass
class DataConfig(Settings):
    """A corpus and its vocabulary."""

    source: str = setting("wikitext2", choices=CORPORA, help="The kind of corpus.")
    dir: str | None = setting(None, help="Folder with train.txt, valid.txt and test.txt (text_files).")
    hub_path: str | None = setting(
        None, help="Name of the dataset on the Hugging Face hub, or a local folder in the hub's layout (hub corpora)."
    )
    hub_config: str | None = setting(None, help="Config of the dataset on the hub (hub corpora).")
    tokenizer: str = setting(
        "whitespace", choices=TOKENIZERS, help="whitespace for text that is already tokenized, moses for raw prose."
    )
    min_count: int = setting(
        1, ge=1, help="Words with fewer occurrences in train become <unk>; 3 suits raw prose without <unk>."
    )
    max_size: int = setting(
        0,
        ge=4,
        special={0: "no limit"},
        help="Largest vocabulary, <unk> and <eos> included. A smaller one trains faster.",
    )
    cache_dir: str | None = setting(
        None, special={None: "$LSTM_LM_CACHE, else ~/.cache/lstm_lm"}, help="Folder for encoded corpora."
    )

    def conflicts(self) -> list[str]:
        """A corpus without its location."""
        if self.source == "text_files" and not self.dir:
            return ["dir: text_files needs the folder with train.txt, valid.txt and test.txt; set data.dir=FOLDER"]
        if self.source in HUB_CORPORA and not (self.hub_path and self.hub_config):
            return [f"hub_path: {self.source} needs hub_path and hub_config; choose it with data={self.source}"]
        return []

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
class BatchingConfig(Settings):
    """How a split becomes streams and windows."""

    batch_size: int = setting(20, ge=1, help="Number of contiguous streams in a training batch.")
    eval_batch_size: int = setting(
        20, ge=1, help="Number of contiguous streams in a batch of the validations during training."
    )
    bptt_length: int = setting(35, ge=1, help="Steps per window: gradients are truncated at its start.")
    jitter: bool = setting(
        False, help="Draw the length of each window around bptt_length (Merity et al. 2017, section 4.1)."
    )
    random_offset: bool = setting(
        False, help="Start each epoch at a random word of the corpus, so that window boundaries differ between epochs."
    )
