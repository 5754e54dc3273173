"""Blocks of text as word ids, with one process per core for a large text.

A block is encoded without knowing the others: as ids into its own list of words. The process that writes the corpus
maps these lists to ids of the corpus, in the order of the text: the number of processes does not change the result.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lstm_lm.data.corpus_warnings import count_eos_lines
from lstm_lm.data.text_source import TextSource
from lstm_lm.errors import DataError
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS

if TYPE_CHECKING:
    from joblib.externals.loky import ProcessPoolExecutor

# about a second of work, as long as starting the processes takes
_PARALLEL_CHARS = {"whitespace": 32 << 20, "moses": 1 << 20}
# blocks that wait for a process or for the writer: memory stays bounded, whichever of them is slower
_BLOCKS_AHEAD = 4


@dataclass(frozen=True)
class EncodedBlock:
    """A block of text as ids into its own words."""

    words: list[str]
    """The distinct words of the block, by first occurrence; ``<eos>`` for a line break."""
    ids: NDArray[np.int32]
    """The words of the block as indices into ``words``, shape (n,)."""
    num_chars: int
    """Length of the text."""
    eos_lines: int
    """Number of lines that end in the word ``<eos>``."""


class GrowingIds(dict[str, int]):
    """Assigns the next id to each new word."""

    def __missing__(self, word: str) -> int:
        self[word] = index = len(self)
        return index


def encode_block(block: str, tokenizer: str) -> EncodedBlock:
    """Encode one block."""
    words = block_words(block, Tokenizer(tokenizer))
    known = GrowingIds()
    ids = np.fromiter(map(known.__getitem__, words), dtype=np.int32, count=len(words))
    return EncodedBlock(list(known), ids, len(block), count_eos_lines(block))


def block_words(block: str, tokenizer: Tokenizer) -> list[str]:
    """Words of a block, each line break as ``<eos>``."""
    if tokenizer.name == "whitespace":
        return block.replace("\n", f" {EOS} ").split()
    words: list[str] = []
    *lines, rest = block.split("\n")
    for line in lines:
        words += tokenizer.words(line)
        words.append(EOS)
    return words + tokenizer.words(rest)


def encode_blocks(source: TextSource, tokenizer: str) -> Generator[EncodedBlock]:
    """Encode a text, block by block; a large one with one process per core.

    Yields:
        The blocks in the order of the text.

    Raises:
        DataError: If the text is unreadable, or a process dies.
    """
    if source.size_hint < _PARALLEL_CHARS[tokenizer]:
        for block in source.blocks():
            yield encode_block(block, tokenizer)
        return
    from joblib.externals import loky

    # loky's processes do not import the script of the user again
    processes = loky.cpu_count()
    with _interrupts_ignored():
        pool = loky.ProcessPoolExecutor(processes, initializer=_depend_on, initargs=(os.getpid(),))
        pool.submit(os.getpid)  # starts the processes
    try:
        yield from _in_order(pool, source, tokenizer, processes)
    except loky.process_executor.TerminatedWorkerError as error:
        raise DataError(
            f"{source.label}: a process that encodes it died, perhaps out of memory; free some memory and repeat"
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _in_order(
    pool: "ProcessPoolExecutor", source: TextSource, tokenizer: str, processes: int
) -> Iterator[EncodedBlock]:
    pending: deque[Future[EncodedBlock]] = deque()
    for block in source.blocks():
        pending.append(pool.submit(encode_block, block, tokenizer))
        if len(pending) >= processes * _BLOCKS_AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let the processes that start meanwhile ignore Ctrl-C, which goes to all processes of a terminal.

    They inherit it, so that one that is still starting prints no traceback; the parent ends them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _depend_on(parent: int) -> None:
    """Let this process end with its parent only."""
    # a parent that is killed may leave half a block in the pipe, for which this process would wait forever
    threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
