"""Which corpus is read and how it is cut into batches, as plain data."""

from dataclasses import dataclass

HUB_CORPORA = ("wikitext2", "wikitext2_raw", "wikitext103")
CORPORA = (*HUB_CORPORA, "text_files", "python_docs")
TOKENIZERS = ("whitespace", "moses")


@dataclass
class DataConfig:
    """A corpus and its vocabulary.

    Attributes:
        source: One of ``CORPORA``.
        dir: ``text_files``: the folder with train.txt, valid.txt and test.txt.
        hub_path: Hub corpora: the dataset's name on the hub, or a local folder in the hub's layout.
        hub_config: Hub corpora: the dataset's config.
        tokenizer: ``whitespace`` for text that comes tokenised, ``moses`` for plain prose.
        min_count: Words that train holds fewer times become ``<unk>``.
        max_size: Largest vocabulary, ``<unk>`` and ``<eos>`` included; 0 is no limit.
        cache_dir: Where encoded corpora are kept; ``None`` is ``$LSTM_LM_CACHE``, else ``~/.cache/lstm_lm``.
    """

    source: str = "wikitext2"
    dir: str | None = None
    hub_path: str | None = None
    hub_config: str | None = None
    tokenizer: str = "whitespace"
    min_count: int = 1
    max_size: int = 0
    cache_dir: str | None = None

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        found = []
        if self.source not in CORPORA:
            found.append(f"source: unknown corpus (got {self.source!r}); use one of {', '.join(CORPORA)}")
        if self.source == "text_files" and not self.dir:
            found.append(
                "dir: text_files needs the folder that holds train.txt, valid.txt and test.txt; set data.dir=FOLDER"
            )
        if self.source in HUB_CORPORA and not (self.hub_path and self.hub_config):
            found.append(f"hub_path: {self.source} needs hub_path and hub_config; choose it with data={self.source}")
        if self.tokenizer not in TOKENIZERS:
            found.append(f"tokenizer: unknown (got {self.tokenizer!r}); use one of {', '.join(TOKENIZERS)}")
        if self.min_count < 1:
            found.append(f"min_count: must be at least 1 (got {self.min_count})")
        if self.max_size < 0 or 0 < self.max_size < 4:
            found.append(f"max_size: must be 0 (no limit) or at least 4 (got {self.max_size})")
        return found


@dataclass
class BatchingConfig:
    """How a stream of words becomes windows.

    Attributes:
        batch_size: Contiguous streams that are trained side by side.
        eval_batch_size: The same for the validations of a training.
        bptt_length: Steps of a window: how far back a gradient reaches.
        jitter: Draw each window's length around ``bptt_length`` (Merity et al. 2017 §4.1).
        random_offset: Begin each epoch at another place of the corpus, so that windows are cut elsewhere.
    """

    batch_size: int = 20
    eval_batch_size: int = 20
    bptt_length: int = 35
    jitter: bool = False
    random_offset: bool = False

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        return [
            f"{name}: must be at least 1 (got {getattr(self, name)})"
            for name in ("batch_size", "eval_batch_size", "bptt_length")
            if getattr(self, name) < 1
        ]
