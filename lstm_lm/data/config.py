"""Config of the corpus and of its batches."""

from dataclasses import dataclass, field
from pathlib import Path

HUB_CORPORA = ("hub", "wikitext2", "wikitext2_raw", "wikitext103")
CORPORA = (*HUB_CORPORA, "text_files", "text_file", "python_docs")
TOKENIZERS = ("whitespace", "moses")
SPLITS = ("train", "valid", "test")
SPLIT_UNITS = ("line", "document")


@dataclass
class DataConfig:
    """A corpus and its vocabulary."""

    source: str = "wikitext2"
    """One of ``CORPORA``."""
    title: str | None = None
    """Name of the corpus on the model card; ``None``: of its dataset, folder or file."""
    dir: str | None = None
    """``text_files``: folder with train.txt, valid.txt and test.txt."""
    file: str | None = None
    """``text_file``: the file, of which 90 % becomes train, 5 % valid and 5 % test."""
    split_by: str = "line"
    """``text_file``: split by ``line``, or by ``document``, where blank lines separate documents."""
    hub_path: str | None = None
    """Hub corpora: name of the dataset on the hub, or a local folder in the hub's layout."""
    hub_config: str | None = None
    """Hub corpora: config of the dataset, if it has several."""
    hub_revision: str | None = None
    """Hub corpora: commit, branch or tag of the dataset; ``None`` is the newest."""
    text_column: str = "text"
    """Hub corpora: column with the text."""
    splits: list[str] = field(default_factory=lambda: ["train", "validation", "test"])
    """Hub corpora: the dataset's splits for train, valid and test, or parts of one, such as ``train[:90%]``."""
    tokenizer: str = "whitespace"
    """``whitespace`` for text that is already tokenized, ``moses`` for raw prose."""
    min_count: int = 1
    """Words with fewer occurrences in train become ``<unk>``."""
    max_size: int = 0
    """Largest vocabulary, ``<unk>`` and ``<eos>`` included; 0 means no limit."""
    cache_dir: str | None = None
    """Folder for encoded corpora; ``None`` means ``$LSTM_LM_CACHE``, else ``~/.cache/lstm_lm``."""

    @property
    def corpus_name(self) -> str:
        """Name for people: ``title``, else that of the dataset, folder or file."""
        if self.title:
            return self.title
        if self.hub_path:
            is_local = Path(self.hub_path).expanduser().is_dir()
            dataset = _file_name(self.hub_path) if is_local else self.hub_path
            return f"{dataset} ({self.hub_config})" if self.hub_config else dataset
        path = self.dir or self.file
        return _file_name(path) if path else self.source

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        problems = []
        if self.source not in CORPORA:
            problems.append(f"source: unknown corpus (got {self.source!r}); use one of {', '.join(CORPORA)}")
        if self.source == "text_files" and not self.dir:
            problems.append(
                "dir: text_files needs the folder with train.txt, valid.txt and test.txt; set data.dir=FOLDER"
            )
        if self.source == "text_file" and not self.file:
            problems.append("file: text_file needs the file; set data.file=FILE")
        if self.split_by not in SPLIT_UNITS:
            problems.append(f"split_by: unknown (got {self.split_by!r}); use one of {', '.join(SPLIT_UNITS)}")
        if self.source in HUB_CORPORA:
            problems += self._hub_problems()
        if self.tokenizer not in TOKENIZERS:
            problems.append(f"tokenizer: unknown (got {self.tokenizer!r}); use one of {', '.join(TOKENIZERS)}")
        if self.min_count < 1:
            problems.append(f"min_count: must be at least 1 (got {self.min_count})")
        if self.max_size < 0 or 0 < self.max_size < 4:
            problems.append(f"max_size: must be 0 (no limit) or at least 4 (got {self.max_size})")
        return problems

    def _hub_problems(self) -> list[str]:
        problems = []
        if not self.hub_path:
            remedy = "set data.hub_path=NAME" if self.source == "hub" else f"choose it with data={self.source}"
            problems.append(f"hub_path: {self.source} needs the dataset's name or folder; {remedy}")
        elif self.hub_revision and Path(self.hub_path).expanduser().is_dir():
            problems.append(
                f"hub_revision: a local folder has no revisions (got {self.hub_revision!r}); set data.hub_revision=null"
            )
        if len(self.splits) != len(SPLITS) or len(set(self.splits)) != len(SPLITS):
            problems.append(
                f"splits: must name three different splits, for train, valid and test (got {self.splits}); for example "
                "[train,validation,test]"
            )
        return problems


def _file_name(path: str) -> str:
    return Path(path).expanduser().resolve().name


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
