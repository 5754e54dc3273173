"""The config groups of a command: what can be chosen, and what is wrong with a choice."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.types import RunMode


class Groups:
    """The groups that a command line can choose from.

    Args:
        loader: Hydra's loader.
        command: The name of a file in ``configs``.
        searchpath: An override of ``hydra.searchpath``, or nothing.

    Attributes:
        names: Every group.
        chosen: The choices that the command's defaults list makes, as ``group`` or ``group@package``.
    """

    def __init__(self, loader: ConfigLoader, command: str, searchpath: Sequence[str]) -> None:
        self._loader = loader
        self._command = command
        self._searchpath = list(searchpath)
        self._list = cache(self._list_uncached)
        self.names = self._list("", ObjectType.GROUP)
        defaults = loader.compute_defaults_list(command, self._searchpath, RunMode.RUN)
        self.chosen = sorted(defaults.overrides.known_choices)

    def options(self, group: str) -> list[str]:
        """The options of a group."""
        return self._list(group, ObjectType.CONFIG)

    def _list_uncached(self, group: str, kind: ObjectType) -> list[str]:
        names = self._loader.get_group_options(group, kind, self._command, self._searchpath)
        return sorted(name for name in names if name != "hydra" and not name.startswith("__"))

    def problem(self, override: Override) -> str | None:
        """What is wrong with a choice, if anything is."""
        options, value = self.options(override.key_or_group), override.value()
        key = override.get_key_element()
        bare = key.lstrip("+~")
        if bare not in self.chosen and not override.is_add():
            near = get_close_matches(bare, self.chosen, n=1)
            remedy = f"did you mean {near[0]}? " if near else ""
            return f"{key}: the config makes no such choice; {remedy}to make it, write +{bare}=OPTION"
        if override.is_delete():
            return None
        if override.is_force_add() or (override.is_add() and bare in self.chosen):
            return f"{key}: the config makes this choice already; write {bare}={override.get_value_string()}"
        if value is None:
            return f"{key}: cannot be null; write ~{bare} to leave it out, or choose from {', '.join(options)}"
        for name in value if isinstance(value, list) else [value]:
            if str(name) not in options:
                near = get_close_matches(str(name), options, n=1, cutoff=0.5)
                remedy = f"did you mean {near[0]}? " if near else ""
                return f"{key}: no such option (got {name}); {remedy}options are {', '.join(options)}"
        return None
