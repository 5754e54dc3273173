"""Compare keyboards: top-1, top-3 and saved keystrokes of models and of a modified Kneser-Ney 4-gram.

The first columns are everyday prompts, each with the wanted next word; they were written for this test and no model was
trained on them. The others are the test split of a corpus, every word of it. The n-gram model has the words and the
training text of the first model; all see the same suggestions bar::

    python scripts/bench_keyboard.py --model exports/keyboard --model outputs/other/run

A bundle is measured as it is served, in int8 if it has that graph.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lstm_lm.data.config import DataConfig
from lstm_lm.data.encoding import Ids, encode_split
from lstm_lm.data.ngram import KneserNeyNgram
from lstm_lm.data.streams import EvalWindows
from lstm_lm.errors import LstmLmError
from lstm_lm.evaluation.keyboard import (
    NUM_SUGGESTIONS,
    KeyboardScore,
    SuggestionBar,
    TypedWord,
    keyboard_score,
    written_words,
)
from lstm_lm.inference.backend import Backend, State
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.inference.engine import Engine
from lstm_lm.loading import load_model
from lstm_lm.text.casing import sentence_starts
from lstm_lm.text.files import write_json
from lstm_lm.text.vocabulary import Vocabulary

PROMPTS = Path(__file__).parent.parent / "tests" / "evaluation" / "data" / "everyday_prompts.tsv"
STREAMS = 32  # a split is read as so many parts at once, each from its beginning


class NgramBackend:
    """Runs an n-gram model in place of a network: the state is the last words."""

    def __init__(self, ngram: KneserNeyNgram, eos_id: int) -> None:
        self._ngram = ngram
        self._eos_id = eos_id

    @property
    def vocab_size(self) -> int:
        """See ``Backend``."""
        return self._ngram.vocab_size

    def initial_state(self, batch_size: int) -> State:
        """See ``Backend``."""
        # float32 holds every id exactly
        return (np.full((batch_size, self._ngram.order - 1), self._eos_id, dtype=np.float32),)

    def step(self, input_ids: NDArray[np.int64], state: State) -> tuple[NDArray[np.float32], State]:
        """See ``Backend``."""
        words = np.concatenate([state[0].astype(np.int64), input_ids], axis=1)[:, 1 - self._ngram.order :]
        contexts = np.concatenate([self._ngram.contexts(row)[-1:] for row in words.astype(np.int32)])
        return np.log(self._ngram.distributions(contexts)), (words.astype(np.float32),)

    def prefill(
        self, input_ids: NDArray[np.int64], state: State
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], State]:
        """See ``Backend``; there are no features."""
        logits, after = self.step(input_ids, state)
        return np.zeros((input_ids.shape[1], 1), dtype=np.float32), logits[0], after

    def last_features(self, state: State) -> NDArray[np.float32]:
        """See ``Backend``; there are no features."""
        return np.zeros((len(state[0]), 1), dtype=np.float32)


def read_prompts(path: Path) -> list[tuple[str, str]]:
    r"""Text and wanted next word of each prompt; ``\n`` is a line break."""
    _, *lines = path.read_text(encoding="utf-8").splitlines()
    return [(text.replace("\\n", "\n"), word) for text, word in (line.split("\t") for line in lines)]


def score_prompts(engine: Engine, prompts: list[tuple[str, str]]) -> KeyboardScore:
    """Type the wanted word of each prompt until it is suggested."""

    def suggested(text: str, prefix: str) -> list[str]:
        before = text if text[-1:].isspace() else f"{text} "  # the wanted word is a word of its own
        return [each.word for each in engine.predict(before, NUM_SUGGESTIONS, prefix, words_only=True).suggestions]

    typed = []
    for text, word in prompts:
        first = suggested(text, "")
        rank = first.index(word) if word in first else None
        letters = next((n for n in range(len(word)) if word in (suggested(text, word[:n]) if n else first)), None)
        typed.append(TypedWord(len(word), rank, letters))
    return keyboard_score(typed, len(prompts))


def score_split(backend: Backend, vocabulary: Vocabulary, ids: Ids, description: str) -> KeyboardScore:
    """Type every word of a split, as ``evaluation=keyboard`` does."""
    starts = np.fromiter(sentence_starts(map(vocabulary.word, ids.tolist())), dtype=np.int32, count=len(ids))
    texts, written = written_words(ids, vocabulary)
    bar = SuggestionBar(vocabulary)
    state = backend.initial_state(STREAMS)
    typed = []
    steps = list(_steps(ids, written, starts, vocabulary.eos_id))
    for inputs, words, capitals in track(steps, description, transient=True):
        logits, state = backend.step(inputs, state)
        for row in np.flatnonzero(words >= 0):
            typed.append(bar.type_word(texts[words[row]], bool(capitals[row]), logits[row]))
    return keyboard_score(typed, len(ids))


def _steps(
    ids: Ids, written: Ids, starts: Ids, eos_id: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Inputs (B, 1), written words (B,) and capitals (B,) of each step; -1 is no word."""
    texts = (EvalWindows(part, STREAMS, 70, before) for part, before in ((ids, eos_id), (written, -1), (starts, 0)))
    for window, written_window, start_window in zip(*texts, strict=True):
        words = written_window.target_ids
        if window.mask is not None:
            words = words.masked_fill(~window.mask, -1)
        for t in range(words.shape[1]):
            yield (
                window.input_ids[:, t : t + 1].numpy(),
                words[:, t].numpy(),
                start_window.target_ids[:, t].numpy(),
            )


def ngram_engine(vocabulary: Vocabulary, train: Ids, order: int) -> Engine:
    """An engine over an n-gram model of a text."""
    ngram = KneserNeyNgram(train, len(vocabulary), vocabulary.eos_id, order)
    return Engine(NgramBackend(ngram, vocabulary.eos_id), vocabulary, {"greedy": SamplingConfig()}, "greedy")


def print_table(rows: dict[str, dict[str, KeyboardScore]]) -> None:
    """Print one row per keyboard."""
    table = Table()
    table.add_column("keyboard", overflow="fold", min_width=20)
    texts = list(next(iter(rows.values())))
    for text in texts:
        for column in ("top-1", "top-3", "saved"):
            table.add_column(f"{text}\n{column}", justify="right")
    for name, scores in rows.items():
        shares = [
            share
            for text in texts
            for share in (scores[text].words.top1, scores[text].words.top3, scores[text].keystroke_savings_rate)
        ]
        table.add_row(name, *(f"{100 * share:.1f} %" for share in shares))
    Console(width=max(Console().width, 130)).print(table)


def main() -> None:
    """Measure each model and the n-gram model, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, type=Path, help="a bundle, run or checkpoint")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="a file like the default one")
    parser.add_argument("--file", type=Path, help="one text file, split 90/5/5, in place of the chat corpus")
    parser.add_argument("--order", type=int, default=4, help="order of the n-gram model; 0 leaves it out")
    parser.add_argument("--tokens", type=int, help="read only the first tokens of the split")
    parser.add_argument("--json", type=Path, help="write the scores to this file too")
    arguments = parser.parse_args()
    data = DataConfig(source="chat", tokenizer="moses")
    if arguments.file is not None:
        data = replace(data, source="text_file", file=str(arguments.file))
    prompts = read_prompts(arguments.prompts)
    engines = {str(path): load_model(path).engine() for path in arguments.model}
    first = next(iter(engines.values())).vocabulary
    if arguments.order:
        train = encode_split(data, "train", first)
        engines[f"Kneser-Ney {arguments.order}-gram"] = ngram_engine(first, train, arguments.order)
    rows = {}
    for name, engine in engines.items():
        ids = encode_split(data, "test", engine.vocabulary)[: arguments.tokens]
        rows[name] = {
            f"{len(prompts)} prompts": score_prompts(engine, prompts),
            f"test of {data.corpus_name}": score_split(engine.backend, engine.vocabulary, ids, name),
        }
    print_table(rows)
    if arguments.json is not None:
        write_json(
            arguments.json,
            {name: {text: score.to_dict() for text, score in scores.items()} for name, scores in rows.items()},
        )


if __name__ == "__main__":
    try:
        main()
    except LstmLmError as error:
        sys.exit(f"error: {error}")
