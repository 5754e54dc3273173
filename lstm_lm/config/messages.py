"""What Hydra and OmegaConf reject, as ``path: what is wrong (got VALUE); remedy``."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ConfigTypeError, OmegaConfBaseException

from lstm_lm.config.renames import RENAMED_OPTIONS, RENAMED_SETTINGS
from lstm_lm.errors import closest, did_you_mean
from lstm_lm.settings import Leaf, all_settings, describe_type, without_none

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)
"""What Hydra raises for a config that cannot be composed."""


class Names:
    """The names that a command line can use.

    Args:
        config: A composed config.
        groups: The config groups.
        schema: The command's dataclass.
    """

    def __init__(self, config: DictConfig, groups: Sequence[str], schema: Any) -> None:
        self._groups = list(groups)
        added = undeclared(config)
        self._paths = [path for path, _ in walk(config) if path not in added] + self._groups
        self._leaves = {leaf.path: leaf for leaf in all_settings(schema)}

    def leaf(self, path: str) -> Leaf | None:
        """The declaration of a setting."""
        first, _, rest = path.partition(".")
        _, dot, rest = rest.partition(".")
        return self._leaves.get(path) or self._leaves.get(f"{first}.NAME{dot}{rest}")

    def unknown(self, path: str, where: str = "") -> str:
        """An unknown setting, with the closest name."""
        first, _, rest = path.partition(".")
        if first == "presets" and rest:
            name = rest.partition(".")[0]
            presets = [known.split(".")[1] for known in self._paths if known.startswith("presets.")]
            remedy = did_you_mean(name, presets, then=f"to add one, write +sampling@presets.{name}=OPTION")
            return f"{path}: unknown preset{where}; {remedy}"
        match = RENAMED_SETTINGS.get(path) or self._closest_path(path)
        kind = "Hydra setting" if first == "hydra" else "setting"
        return f"{path}: unknown {kind}{where}" + (f"; did you mean {match}?" if match else "")

    def _closest_path(self, path: str) -> str | None:
        """The closest sibling of the first part that does not exist, or else the closest last part anywhere."""
        parts = path.split(".")
        depth = next(depth for depth in range(len(parts)) if ".".join(parts[: depth + 1]) not in self._paths)
        parent, rest = parts[:depth], parts[depth + 1 :]
        siblings = {known[depth] for text in self._paths if (known := text.split("."))[:depth] == parent != known}
        fitting = [name for name in sorted(siblings) if not rest or ".".join([*parent, name, *rest]) in self._paths]
        if sibling := closest(parts[depth], fitting):
            return ".".join([*parent, sibling, *rest])
        by_last_part: dict[str, str] = {}
        for known_path in self._paths:
            if not known_path.startswith("hydra.") and not known_path.endswith("_target_"):
                by_last_part.setdefault(known_path.rpartition(".")[2], known_path)
        match = closest(parts[-1], by_last_part, cutoff=0.7)
        return by_last_part[match] if match else None

    def unknown_group(self, override: Override) -> str:
        """A group with a package that does not exist."""
        remedy = did_you_mean(override.key_or_group, self._groups, form=f"{{}}@{override.package}")
        return f"{override.get_key_element()}: unknown config group; {remedy}"

    def mistake_in_file(self, group: str, error: Exception) -> str:
        """A setting of a config file that Hydra cannot merge."""
        file = re.match(r"In '(.+?)'", str(error))
        where = f" (in {file[1]}.yaml)" if file else ""
        cause = error.__context__
        assert isinstance(cause, OmegaConfBaseException)
        path = str(cause.full_key)
        if not path:
            return short_message(error)
        if path == group:
            return f"{path}: unknown setting{where}; the first line of that file must be # @package _global_"
        return self._rejected(path, cause, where)

    def invalid_value(self, override: Override, error: OmegaConfBaseException) -> str:
        """A value of the command line that OmegaConf rejects."""
        key, value = override.key_or_group, override.value()
        if isinstance(error, ConfigTypeError) and override.is_delete():
            return f"~{key}: a setting cannot be removed; give it another value"
        path = str(error.full_key) if isinstance(value, dict) else key
        return self._rejected(path, error, value=value)

    def _rejected(self, path: str, error: OmegaConfBaseException, where: str = "", value: Any = None) -> str:
        """What OmegaConf says about the value at ``path``."""
        if isinstance(error, ConfigKeyError | ConfigAttributeError):
            return self.unknown(path, where)
        element = re.search(r"(\[\d+\]|\.\d+)$", path)
        leaf = self.leaf(path[: element.start()] if element else path)
        parent = path.rpartition(".")[0]
        if (leaf is None and not path.startswith("hydra.")) or (parent and parent not in self._paths):
            return self.unknown(path, where)
        text = str(error).splitlines()[0]
        if leaf is None:
            return f"{path}: {text}{where}"
        got = re.search(r"^Value '(.*?)' of type '(\w+)'", text)  # for a value in a file
        shown = "null" if value is None else repr(value)
        if got is not None:
            shown = repr(got[1]) if got[2] == "str" else got[1]
        kind = get_args(without_none(leaf.type))[0] if element else without_none(leaf.type)
        if is_dataclass(kind) or get_origin(kind) is dict:
            child = fields(kind)[0].name if is_dataclass(kind) else "NAME"
            return f"{path}: is a group of settings (got {shown}){where}; set one of them, as in {path}.{child}=VALUE"
        example = ", as in [1,2]" if get_origin(kind) is list else ""
        return f"{path}: must be {describe_type(kind if element else leaf.type)}{example} (got {shown}){where}"


def not_in_defaults(key: str, chosen: Sequence[str]) -> str:
    """A choice for a place where the defaults list has none."""
    bare_key = key.lstrip("+~")
    remedy = did_you_mean(bare_key, chosen, then=f"to add it, write +{bare_key}=OPTION")
    return f"{key}: is not in the defaults list; {remedy}"


def unknown_option(override: Override, name: str, options: Sequence[str]) -> str:
    """An option that a group does not have."""
    renamed = {old: new for (group, old), new in RENAMED_OPTIONS.items() if group == override.key_or_group}
    remedy = did_you_mean(name, options, then=f"options are {', '.join(options)}", renamed=renamed, cutoff=0.5)
    return f"{override.get_key_element()}: unknown option (got {name}); {remedy}"


def missing_plugin(override: Override, name: str, options: Sequence[str]) -> str:
    """An option of one of Hydra's own groups, most of which come with plugins."""
    key = override.get_key_element()
    extra = name.partition("_")[0]
    if key == "hydra/launcher" and extra in ("joblib", "ray", "submitit"):
        return f"{key}: {name} is not installed; pip install 'lstm-lm[{extra}]'"
    return f"{key}: unknown option (got {name}); options are {', '.join(options)}, and those of the plugins you install"


def choose_first(key: str, group: str, options: Sequence[str]) -> str:
    """A setting of a group that is null."""
    return f"{key}: {group} is null here; choose it first, as in {group}=NAME ({', '.join(options)})"


def short_message(error: Exception) -> str:
    """Hydra's message on one line, without its search path and links."""
    lines = []
    for line in str(error).splitlines():
        if line.startswith(("Config search path", "See http", "Set the environment")):
            break
        if line.strip():
            lines.append(line.strip())
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException):
        lines.append(str(cause).splitlines()[0])
    return "; ".join(lines)


def undeclared(config: DictConfig) -> list[str]:
    """Keys that OmegaConf accepts but that are no settings: added to a dataclass with +, or renamed in an open node."""
    added = []
    for path, node in walk(config):
        kind = OmegaConf.get_type(node)
        declared = None
        if is_dataclass(kind) and OmegaConf.is_struct(node):
            declared = {field.name for field in fields(kind)}
        if path in RENAMED_SETTINGS or (declared is not None and path.rpartition(".")[2] not in declared):
            added.append(path)
    return added


def walk(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every dotted path of a config with the node that holds its last part, parents first."""
    for key in map(str, node):
        yield f"{prefix}{key}", node
        plain = OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key)
        if not plain and isinstance(node[key], DictConfig):
            yield from walk(node[key], f"{prefix}{key}.")
