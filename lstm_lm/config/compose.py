"""Compose a command's config without stopping at the first mistake.

Hydra raises at the first wrong key or value. This module merges the same files in the same order, setting by setting,
and collects every mistake. The config of a run is still Hydra's own result.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, get_origin

from hydra import initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lstm_lm.config.paths import UnknownPathError, closest_path, describe_type, is_optional, type_at, unwrap_optional
from lstm_lm.config.schema import SCHEMAS, Config, EvalConfig, ExportConfig, TrainConfig

CONFIG_PACKAGE = "lstm_lm.configs"
VERSION_BASE = "1.3"


def register_schemas() -> None:
    """Register the schemas that the defaults lists of the shipped YAML files name."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        store.store(name=f"{command}_schema", node=schema, provider="lstm_lm")


@contextmanager
def config_loader() -> Iterator[ConfigLoader]:
    """Hydra's loader over the shipped configs, for composing outside a run."""
    register_schemas()
    with initialize_config_module(CONFIG_PACKAGE, version_base=VERSION_BASE):
        yield GlobalHydra.instance().config_loader()


def to_dataclass(config: DictConfig) -> Config:
    """Convert a composed config to its dataclass and resolve interpolations."""
    result = OmegaConf.to_object(config)
    assert isinstance(result, TrainConfig | EvalConfig | ExportConfig)
    return result


def config_folders(searchpath: Sequence[str]) -> list[Path]:
    """The config folders, the shipped one first."""
    folders = [Path(str(files(CONFIG_PACKAGE)))]
    for entry in searchpath:
        if entry.startswith("pkg://"):
            folders.append(Path(str(files(entry.removeprefix("pkg://").replace("/", ".")))))
        else:
            folders.append(Path(entry.removeprefix("file://")))
    return folders


class TolerantConfig:
    """A partly composed config that records mistakes and continues.

    Args:
        schema: The command's dataclass.
        groups: Names of the config groups, for suggestions.

    Attributes:
        problems: One line per mistake so far.
    """

    def __init__(self, schema: type[Config], groups: Sequence[str]) -> None:
        self.schema = schema
        self.groups = groups
        self.problems: list[str] = []
        self._root: DictConfig = OmegaConf.structured(schema)

    def merge_file(self, file: Path, package: str, label: str) -> None:
        """Merge a YAML file into ``package``."""
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if not isinstance(content, dict):
            return  # an empty file
        for key in ("defaults", *([] if package else ["hydra"])):
            content.pop(key, None)
        path = tuple(package.split(".")) if package else ()
        self._merge(path, content, f" (in {label})", adding=True)

    def merge_value(self, path: Sequence[str], value: Any, adding: bool = False) -> None:
        """Merge one value of the command line; ``adding`` accepts a new key in a dictionary."""
        self._merge(tuple(path), value, "", adding=adding)

    def names(self, path: Sequence[str]) -> list[str]:
        """The keys of the first dictionary on ``path``."""
        for depth in range(1, len(path)):
            node = OmegaConf.select(self._root, ".".join(path[:depth]), throw_on_missing=False)
            if isinstance(node, DictConfig) and OmegaConf.get_type(node) is dict:
                return [str(name) for name in node]
        return []

    def value(self, path: Sequence[str]) -> Any:
        """The current value at ``path``; ``None`` if there is none."""
        return OmegaConf.select(self._root, ".".join(path), throw_on_missing=False, throw_on_resolution_failure=False)

    def build(self) -> Config:
        """Convert to the dataclass and record its problems; an invalid value is replaced by the schema's default."""
        self._resolve(self._root, "")
        config = to_dataclass(self._root)
        self.problems += config.problems()
        return config

    def _resolve(self, node: DictConfig, prefix: str) -> None:
        """Replace every ``???`` and every interpolation that cannot be resolved."""
        node_type = OmegaConf.get_type(node)
        default = OmegaConf.structured(node_type) if dataclasses.is_dataclass(node_type) else OmegaConf.create()
        for key in map(str, list(node)):
            try:
                missing = OmegaConf.is_missing(node, key)
                value = None if missing else node[key]
            except OmegaConfBaseException as error:
                self.problems.append(f"{prefix}{key}: cannot be resolved ({str(error).splitlines()[0]})")
                node[key] = "" if OmegaConf.is_missing(default, key) else default[key]
                continue
            if missing:
                self.problems.append(f"{prefix}{key}: is required; give {prefix}{key}=VALUE")
                node[key] = ""
            if isinstance(value, DictConfig):
                self._resolve(value, f"{prefix}{key}.")

    def _merge(self, path: tuple[str, ...], value: Any, where: str, adding: bool) -> None:
        dotted = ".".join(path)
        try:
            annotation = type_at(self.schema, path, None if adding else self.names(path))
        except UnknownPathError as error:
            match = closest_path(self.schema, path, error, self.groups)
            remedy = f"; did you mean {match}?" if match else f"; use one of {', '.join(error.choices)}"
            self.problems.append(f"{dotted}: unknown setting{where}{remedy if match or error.choices else ''}")
            return
        inner = unwrap_optional(annotation)
        is_group = dataclasses.is_dataclass(inner) or get_origin(inner) is dict
        if is_group and isinstance(value, dict):
            for key, child in value.items():
                self._merge((*path, str(key)), child, where, adding)
        elif is_group and not (value is None and is_optional(annotation)):
            child_name = dataclasses.fields(inner)[0].name if dataclasses.is_dataclass(inner) else "NAME"
            self.problems.append(
                f"{dotted}: is a group of settings (got {value}){where}; set one of them, as in "
                f"{dotted}.{child_name}=VALUE"
            )
        else:
            self._assign(path, annotation, value, where)

    def _assign(self, path: tuple[str, ...], annotation: Any, value: Any, where: str) -> None:
        node: Any = self._root
        for depth, part in enumerate(path[:-1], start=1):
            if OmegaConf.is_dict(node) and (part not in node or node[part] is None):
                node[part] = unwrap_optional(type_at(self.schema, path[:depth]))
            node = node[int(part)] if OmegaConf.is_list(node) else node[part]
        try:
            node[int(path[-1]) if OmegaConf.is_list(node) else path[-1]] = value
        except (OmegaConfBaseException, ValueError, IndexError):
            shown = "null" if value is None else repr(value)
            self.problems.append(f"{'.'.join(path)}: must be {describe_type(annotation)} (got {shown}){where}")
