"""The config groups of a command: what can be chosen, and what is wrong with a choice."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from hydra.core.override_parser.types import Override

from lstm_lm.config.renames import OPTIONS


class Groups:
    """The groups that a command line can choose from.

    Args:
        folders: The folders that hold configs.
        chosen: The choices that the command's defaults list makes, as ``group`` or ``group@package``.

    Attributes:
        names: Every group.
    """

    def __init__(self, folders: Sequence[Path], chosen: Sequence[str]) -> None:
        self._folders = folders
        self._chosen = chosen
        self.names = sorted({file.parent.name for folder in folders for file in folder.glob("*/*.yaml")} - {"hydra"})

    def options(self, group: str) -> list[str]:
        """The options of a group."""
        return sorted({file.stem for folder in self._folders for file in (folder / group).glob("*.yaml")})

    def problem(self, override: Override) -> str | None:
        """What is wrong with a choice, if anything is."""
        options, value = self.options(override.key_or_group), override.value()
        key = override.get_key_element()
        bare = key.lstrip("+~")
        if bare not in self._chosen and not override.is_add():
            near = get_close_matches(bare, self._chosen, n=1)
            remedy = f"did you mean {near[0]}? " if near else ""
            return f"{key}: the config makes no such choice; {remedy}to make it, write +{bare}=OPTION"
        if override.is_delete():
            return None
        if override.is_force_add() or (override.is_add() and bare in self._chosen):
            return f"{key}: the config makes this choice already; write {bare}={override.get_value_string()}"
        if value is None:
            return f"{key}: cannot be null; write ~{bare} to leave it out, or choose from {', '.join(options)}"
        for name in value if isinstance(value, list) else [value]:
            if str(name) not in options:
                renamed = OPTIONS.get((override.key_or_group, str(name)))
                near = [renamed] if renamed else get_close_matches(str(name), options, n=1, cutoff=0.5)
                remedy = f"did you mean {near[0]}? " if near else ""
                return f"{key}: no such option (got {name}); {remedy}options are {', '.join(options)}"
        return None
