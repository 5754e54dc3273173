"""The config groups of a command: which options exist, and what is wrong with a choice."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override

from lstm_lm.config.renames import RENAMED_OPTIONS
from lstm_lm.errors import closest


class Groups:
    """The config groups that a command line can choose from.

    Args:
        folders: The config folders.
        defaults: The choices in the command's defaults list, as ``group`` or ``group@package``.

    Attributes:
        names: Every group.
    """

    def __init__(self, folders: Sequence[Path], defaults: Sequence[str]) -> None:
        self._folders = folders
        self._defaults = defaults
        self.names = sorted({file.parent.name for folder in folders for file in folder.glob("*/*.yaml")} - {"hydra"})

    def options(self, group: str) -> list[str]:
        """The options of a group."""
        return sorted({file.stem for folder in self._folders for file in (folder / group).glob("*.yaml")})

    def problem(self, override: Override) -> str | None:
        """What is wrong with a choice; ``None`` if it is valid."""
        options, value = self.options(override.key_or_group), override.value()
        key = override.get_key_element()
        bare_key = key.lstrip("+~")
        if bare_key not in self._defaults and not override.is_add():
            match = closest(bare_key, self._defaults)
            remedy = f"did you mean {match}? " if match else ""
            return f"{key}: is not in the defaults list; {remedy}to add it, write +{bare_key}=OPTION"
        if override.is_delete():
            return None
        if override.is_force_add() or (override.is_add() and bare_key in self._defaults):
            return f"{key}: is in the defaults list already; write {bare_key}={override.get_value_string()}"
        if value is None:
            return f"{key}: cannot be null; write ~{bare_key} to leave it out, or choose from {', '.join(options)}"
        for name in map(str, value if isinstance(value, list) else [value]):
            if name not in options:
                match = RENAMED_OPTIONS.get((override.key_or_group, name)) or closest(name, options, cutoff=0.5)
                remedy = f"did you mean {match}? " if match else ""
                return f"{key}: unknown option (got {name}); {remedy}options are {', '.join(options)}"
        return None
