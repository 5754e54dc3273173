"""A corpus that a function of the user's own reads."""

from collections.abc import Callable, Iterable, Iterator

from lstm_lm.data.config import DataConfig
from lstm_lm.data.text_source import LineSource, TextSource
from lstm_lm.errors import DataError
from lstm_lm.imports import resolve

_SIZE_HINT = 1_000_000  # characters; the progress bar grows with a longer text


def open_split(config: DataConfig, split: str) -> TextSource:
    """The lines that ``config.lines`` yields, which is called as ``function(split, config)``.

    Raises:
        DataError: If there is no such function.
    """
    assert config.lines, "DataConfig.problems() reports missing lines"
    return LineSource(f"{config.lines}, {split}", _Lines(_function(config.lines), config, split), _SIZE_HINT)


class _Lines:
    def __init__(self, function: Callable[[str, DataConfig], Iterable[str]], config: DataConfig, split: str) -> None:
        self._function = function
        self._config = config
        self._split = split

    def __iter__(self) -> Iterator[str]:
        for line in self._function(self._split, self._config):
            if not isinstance(line, str):
                raise DataError(f"data.lines={self._config.lines}: must yield lines of text (got {line!r})")
            yield line


def _function(path: str) -> Callable[[str, DataConfig], Iterable[str]]:
    try:
        return resolve(path)
    except ImportError as error:
        raise DataError(
            f"data.lines={path}: cannot be imported ({error}); give MODULE.FUNCTION of a module in the current folder, "
            "on PYTHONPATH or installed"
        ) from error
