"""Which corpus is read and how it is cut into batches, as plain data."""

from dataclasses import dataclass

HUB_CORPORA = ("wikitext2", "wikitext2_raw", "wikitext103")
CORPORA = (*HUB_CORPORA, "text_files", "python_docs")
TOKENIZERS = ("whitespace", "moses")


@dataclass
class DataSpec:
    """A corpus and its vocabulary.

    Attributes:
        name: One of ``CORPORA``.
        dir: ``text_files``: the folder with train.txt, valid.txt and test.txt.
        hub_path: Hub corpora: the dataset's name on the hub, or a local folder in the hub's layout.
        hub_config: Hub corpora: the dataset's config.
        tokenizer: ``whitespace`` for text that comes tokenised, ``moses`` for plain prose.
        min_count: Words that train holds fewer times become ``<unk>``.
        max_size: Largest vocabulary, ``<unk>`` and ``<eos>`` included; 0 is no limit.
        cache_dir: Where encoded corpora are kept; ``None`` is ``$LSTM_LM_CACHE``, else ``~/.cache/lstm_lm``.
    """

    name: str = "wikitext2"
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
        if self.name not in CORPORA:
            found.append(f"name: unknown corpus (got {self.name!r}); use one of {', '.join(CORPORA)}")
        if self.name == "text_files" and not self.dir:
            found.append(
                "dir: text_files needs the folder that holds train.txt, valid.txt and test.txt; set data.dir=FOLDER"
            )
        if self.name in HUB_CORPORA and not (self.hub_path and self.hub_config):
            found.append(f"hub_path: {self.name} needs hub_path and hub_config; choose it with data={self.name}")
        if self.tokenizer not in TOKENIZERS:
            found.append(f"tokenizer: unknown (got {self.tokenizer!r}); use one of {', '.join(TOKENIZERS)}")
        if self.min_count < 1:
            found.append(f"min_count: must be at least 1 (got {self.min_count})")
        if self.max_size < 0 or 0 < self.max_size < 4:
            found.append(f"max_size: must be 0 (no limit) or at least 4 (got {self.max_size})")
        return found


@dataclass
class BatchingSpec:
    """How a stream of words becomes windows.

    Attributes:
        batch_size: Contiguous streams that are trained side by side.
        eval_batch_size: The same for the validations of a training.
        bptt_length: Steps of a window: how far back a gradient reaches.
        jitter: Draw each window's length around ``bptt_length`` (Merity et al. 2017 §4.1).
        rotate: Begin each epoch at another place of the corpus, so that windows are cut elsewhere.
    """

    batch_size: int = 20
    eval_batch_size: int = 20
    bptt_length: int = 35
    jitter: bool = False
    rotate: bool = False

    def problems(self) -> list[str]:
        """Every wrong field, as ``field: what is wrong (got VALUE); remedy``."""
        return [
            f"{name}: must be at least 1 (got {getattr(self, name)})"
            for name in ("batch_size", "eval_batch_size", "bptt_length")
            if getattr(self, name) < 1
        ]
