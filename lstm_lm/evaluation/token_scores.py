"""Per-token scores of a split: what a report and a comparison of two runs are computed from."""

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_lm.errors import DataError
from lstm_lm.text.files import write_atomically

TOKEN_SCORES = "valid_tokens.npz"
"""The file in a run folder with the scores of best.ckpt on valid."""


@dataclass(frozen=True, eq=False)
class TokenScores:
    """Scores of M tokens of a split, in the order of the text."""

    positions: NDArray[np.int64]
    """Index of each token in the split (M,)."""
    ids: NDArray[np.int32]
    """The tokens (M,)."""
    nll: NDArray[np.float32]
    """Negative log likelihood in nats (M,)."""
    confidence: NDArray[np.float32]
    """Probability of the most probable word (M,)."""
    rank: NDArray[np.int32]
    """Number of other words that are at least as probable as the token (M,)."""
    line_positions: NDArray[np.int32]
    """Number of tokens between the start of the line and the token (M,)."""
    articles: NDArray[np.int32]
    """Number of the article, or of the block of lines, that the token is in (M,)."""
    split_tokens: int
    """Tokens of the whole split; M is smaller if only a part was scored."""

    def save(self, file: Path) -> None:
        """Write the scores; readable by :meth:`load`, and by ``numpy.load``."""
        buffer = io.BytesIO()
        arrays: Any = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        np.savez_compressed(buffer, **arrays)
        write_atomically(file, buffer.getvalue())

    @classmethod
    def load(cls, file: Path) -> "TokenScores":
        """Read the scores.

        Raises:
            DataError: If ``file`` cannot be read or has other content.
        """
        try:
            with np.load(file, allow_pickle=False) as content:
                arrays = {field.name: content[field.name] for field in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{file}: is not a file of token scores; train the run again") from error
        return cls(**{**arrays, "split_tokens": int(arrays["split_tokens"])})
