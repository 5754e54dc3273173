"""Config of the corpus and of its batches."""

from dataclasses import dataclass, replace
from pathlib import Path

from lstm_lm.settings import Settings, setting

HUB_CORPORA = ("hub", "wikitext2", "wikitext2_raw", "wikitext103")
CORPORA = (*HUB_CORPORA, "text_files", "text_file", "python_docs", "chat", "own")
TOKENIZERS = ("whitespace", "moses")
SPLITS = ("train", "valid", "test")


@dataclass
class DataConfig(Settings):
    """A corpus and its vocabulary."""

    source: str = setting("wikitext2", choices=CORPORA, help="The kind of corpus.")
    title: str | None = setting(
        None,
        special={None: "the name of the dataset, folder or file"},
        help="Name of the corpus on the model card.",
    )
    url: str | None = setting(None, help="Where the text comes from, for the model card.")
    license: str | None = setting(
        None, help="Licence of the text, for the model card: an identifier of the Hugging Face hub, such as mit."
    )
    language: str | None = setting(None, help="Language of the text, for the model card: a code such as en.")
    dir: str | None = setting(None, help="Folder with train.txt, valid.txt and test.txt (text_files).")
    file: str | None = setting(None, help="The file, of which 90 % becomes train, 5 % valid and 5 % test (text_file).")
    split_by: str = setting(
        "line",
        choices=("line", "document"),
        help="Split the file by line, or by document: blank lines separate documents, which stay whole (text_file).",
    )
    hub_path: str | None = setting(
        None, help="Name of the dataset on the Hugging Face hub, or a local folder in the hub's layout (hub corpora)."
    )
    hub_config: str | None = setting(None, help="Config of the dataset, if it has several (hub corpora).")
    hub_revision: str | None = setting(
        None, special={None: "the newest"}, help="Commit, branch or tag of the dataset (hub corpora)."
    )
    text_column: str = setting("text", help="Column of the dataset with the text (hub corpora).")
    splits: list[str] = setting(
        ["train", "validation", "test"],
        help="The dataset's splits for train, valid and test, or parts of one, such as train[:90%] (hub corpora).",
    )
    lines: str | None = setting(
        None,
        help="Your own function, as MODULE.NAME, that yields the lines of a split; called with the split's name and "
        "these settings (own).",
    )
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

    @property
    def corpus_name(self) -> str:
        """Name for people: ``title``, else that of the dataset, folder or file."""
        if self.title:
            return self.title
        if self.hub_path:
            dataset = _file_name(self.hub_path) if self._has_local_hub else self.hub_path
            return f"{dataset} ({self.hub_config})" if self.hub_config else dataset
        path = self.dir or self.file
        return _file_name(path) if path else self.lines or self.source

    def conflicts(self) -> list[str]:
        """A corpus without its location, and settings that do not fit the dataset."""
        if self.source == "text_files" and not self.dir:
            return ["dir: text_files needs the folder with train.txt, valid.txt and test.txt; set data.dir=FOLDER"]
        if self.source == "text_file" and not self.file:
            return ["file: text_file needs the file; set data.file=FILE"]
        if self.source == "own" and not self.lines:
            return ["lines: own needs the function that yields the lines of a split; set data.lines=MODULE.NAME"]
        return self._hub_conflicts() if self.source in HUB_CORPORA else []

    def _hub_conflicts(self) -> list[str]:
        problems = []
        if not self.hub_path:
            remedy = "set data.hub_path=NAME" if self.source == "hub" else f"choose it with data={self.source}"
            problems.append(f"hub_path: {self.source} needs the dataset's name or folder; {remedy}")
        elif self.hub_revision and self._has_local_hub:
            problems.append(
                f"hub_revision: a local folder has no revisions (got {self.hub_revision!r}); set data.hub_revision=null"
            )
        if len(self.splits) != len(SPLITS) or len(set(self.splits)) != len(SPLITS):
            problems.append(
                f"splits: must name three different splits, for train, valid and test (got {self.splits}); for example "
                "[train,validation,test]"
            )
        return problems

    def not_found(self) -> str | None:
        """Why a model's corpus cannot be read, with the remedy; ``None`` if it is where it was."""
        option = "data.file=FILE" if self.source == "text_file" else "data.dir=FOLDER"
        remedy = f"give its path with data={self.source} {option}"
        if self.source in HUB_CORPORA:
            remedy = f"give its path with data={self.source}, and data.hub_path=FOLDER for a copy of your own"
        elif self.source == "own":
            remedy = "a checkpoint never runs code: give your own data=OPTION again"
        is_local_hub = bool(self.hub_path) and str(self.hub_path).startswith("/")
        for path, exists in ((self.dir, Path.is_dir), (self.file, Path.is_file), (self.hub_path, Path.is_dir)):
            if path and (path != self.hub_path or is_local_hub) and not exists(Path(path).expanduser()):
                return f"was {path}, and there is no such path; {remedy}"
        return f"is not named in it; {remedy}" if self.problems() else None

    def without_code(self) -> "DataConfig":
        """The same corpus without a function to import: what a checkpoint or bundle records is never run."""
        return replace(self, title=self.corpus_name, lines=None) if self.lines else self

    def with_absolute_paths(self) -> "DataConfig":
        """The same corpus for another working directory."""
        hub_path = _absolute(self.hub_path) if self._has_local_hub else self.hub_path
        folder, file, cache_dir = map(_absolute, (self.dir, self.file, self.cache_dir))
        return replace(self, dir=folder, file=file, hub_path=hub_path, cache_dir=cache_dir)

    def without_local_paths(self) -> "DataConfig":
        """The same corpus with its name, without paths of this machine, to publish."""
        hub_path = None if self._has_local_hub else self.hub_path
        return replace(
            self.without_code(), title=self.corpus_name, dir=None, file=None, cache_dir=None, hub_path=hub_path
        )

    @property
    def _has_local_hub(self) -> bool:
        return self.hub_path is not None and Path(self.hub_path).expanduser().is_dir()


def _file_name(path: str) -> str:
    return Path(path).expanduser().resolve().name


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().resolve())


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
