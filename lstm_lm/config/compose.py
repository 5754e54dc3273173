"""Compose a command's config with Hydra, and find every mistake of a command line instead of the first."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cache
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lstm_lm.config.messages import (
    COMPOSE_ERRORS,
    Names,
    choose_first,
    missing_plugin,
    not_in_defaults,
    short_message,
    unknown_option,
)
from lstm_lm.config.overrides import as_override, line_of
from lstm_lm.config.schema import SCHEMAS, Config
from lstm_lm.errors import ConfigError
from lstm_lm.evaluation.config import EvalConfig
from lstm_lm.export.config import ExportConfig
from lstm_lm.training.config import TrainConfig, TrainerConfig

CONFIG_PACKAGE = "lstm_lm.configs"
VERSION_BASE = "1.3"
OPEN = ("optimizer", "schedule", "trainer", "callbacks", "logger")
"""Open nodes of ``TrainConfig``: their keys are checked against the signature of what takes them."""


@cache
def register_schemas() -> None:
    """Register the schemas that the defaults lists of the shipped YAML files name, once per process."""
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        store.store(name=f"{command}_schema", node=config_node(schema), provider="lstm_lm")


@contextmanager
def config_loader() -> Iterator[ConfigLoader]:
    """Hydra's loader over the shipped configs, for composing outside a run."""
    register_schemas()
    with initialize_config_module(CONFIG_PACKAGE, version_base=VERSION_BASE):
        yield GlobalHydra.instance().config_loader()


def config_node(schema: type[Config]) -> DictConfig:
    """The schema of a command as Hydra merges it."""
    node: DictConfig = OmegaConf.structured(schema)
    for name in OPEN if schema is TrainConfig else ():
        if OmegaConf.get_type(node, name) is dict:
            node[name] = {}  # the defaults are for Python; an option of the group has its own
        OmegaConf.set_struct(node[name], False)
    return node


def to_dataclass(config: DictConfig) -> Config:
    """Convert a composed config to its dataclass and resolve interpolations."""
    if OmegaConf.get_type(config) is TrainConfig:
        config = config.copy()
        OmegaConf.set_readonly(config, False)
        own = {node.name for node in fields(TrainerConfig)}
        for name in [str(key) for key in config.trainer if key not in own]:
            config.trainer.arguments[name] = config.trainer.pop(name)
    result = OmegaConf.to_object(config)
    assert isinstance(result, TrainConfig | EvalConfig | ExportConfig)
    return result


class Composer:
    """Composes the jobs of a command with Hydra.

    Args:
        command: The name of a file in ``configs``.
        loader: Hydra's loader.
        searchpath: Further config folders, as entries of ``hydra.searchpath``.
    """

    def __init__(self, command: str, loader: ConfigLoader, searchpath: Sequence[str] = ()) -> None:
        self.command = command
        self.schema = SCHEMAS[command]
        self.loader = loader
        quoted = ",".join(as_override("x", entry).partition("=")[2] for entry in searchpath)
        self._searchpath = [f"hydra.searchpath=[{quoted}]"] if searchpath else []
        self._last: tuple[list[str], DictConfig, list[str]] | None = None

    def compose(self, lines: Sequence[str]) -> tuple[DictConfig, list[str]]:
        """Compose one job.

        Returns:
            The config with Hydra's own settings, and one problem per invalid override; those are left out.
        """
        if self._last is None or self._last[0] != lines:
            self._last = (list(lines), *self._compose_job(lines))
        _, config, problems = self._last
        return config, problems

    def _compose_job(self, lines: Sequence[str]) -> tuple[DictConfig, list[str]]:
        with suppress(*COMPOSE_ERRORS):
            return self._compose(lines), []
        try:
            config = self._compose([])
        except COMPOSE_ERRORS as error:
            raise ConfigError([short_message(error)]) from error
        overrides = OverridesParser.create(config_loader=self.loader).parse_overrides(list(lines))
        problems: list[str] = []
        accepted: list[str] = []
        values = []
        for override in overrides:
            if not self._chooses_option(override):
                values.append(override)
                continue
            try:
                config = self._compose([*accepted, line_of(override)])
                accepted.append(line_of(override))
            except COMPOSE_ERRORS as error:
                problems.append(self._choice_problem(override, error, config))
        names = self.names(config)
        for override in values:
            try:
                problem = self._set(config, override, names)
            except OmegaConfBaseException as error:
                problem = names.invalid_value(override, error)
            problems += [problem] if problem else []
        return config, problems

    def names(self, config: DictConfig) -> Names:
        """The names that a command line can use."""
        return Names(config, self.loader.list_groups(""), self.schema)

    def _compose(self, lines: Sequence[str]) -> DictConfig:
        try:
            return compose(self.command, [*lines, *self._searchpath], return_hydra_config=True)
        except AssertionError as error:
            # also of a setting inside a group that is null, which is found again when the settings are set one by one
            remedy = "write the override entries last"
            raise HydraException(f"a defaults list has a list of options after an override; {remedy}") from error

    def _options(self, group: str) -> list[str]:
        """The options of a config group; empty if there is no such group."""
        if not re.fullmatch(r"\w+(/\w+)*", group):
            return []
        return self.loader.get_group_options(group, config_name=self.command, overrides=self._searchpath)

    def _chooses_option(self, override: Override) -> bool:
        """Whether an override chooses an option of a group, and does not set values."""
        return not isinstance(override.value(), dict) and bool(self._options(override.key_or_group))

    def _set(self, config: DictConfig, override: Override, names: Names) -> str | None:
        """Set one value as Hydra does; much faster than composing again.

        Returns:
            What is wrong with the override itself, whatever its value.

        Raises:
            OmegaConfBaseException: If the config does not accept it.
        """
        key, value, line = override.key_or_group, override.value(), line_of(override)
        group, _, rest = key.partition(".")
        if override.package is not None:
            return names.unknown_group(override)
        if rest and group in config and OmegaConf.select(config, group) is None and (options := self._options(group)):
            return choose_first(key, group, options)
        if override.is_delete():
            parent, _, name = key.rpartition(".")
            node: Any = OmegaConf.select(config, parent) if parent else config
            if not OmegaConf.is_dict(node) or name not in node:
                return names.unknown(key)
            with open_dict(config):
                del node[name]
            return None
        current = OmegaConf.select(config, key, throw_on_missing=False, throw_on_resolution_failure=False)
        if override.is_add() and current is not None and not isinstance(value, dict | list):
            return f"+{key}: exists already (is {current}); omit the +, as in {line.lstrip('+')}"
        OmegaConf.update(config, key, value, merge=True, force_add=override.is_add() or override.is_force_add())
        return None

    def _choice_problem(self, override: Override, error: Exception, config: DictConfig) -> str:
        """What is wrong with the choice of an option that Hydra rejects."""
        key, value = override.get_key_element(), override.value()
        bare_key = key.lstrip("+~")
        chosen = [str(name) for name in config.hydra.runtime.choices]
        if bare_key in chosen and (override.is_add() or override.is_force_add()):
            return f"{key}: is in the defaults list already; write {bare_key}={override.get_value_string()}"
        if bare_key not in chosen and not override.is_add():
            return not_in_defaults(key, chosen)
        options = self._options(override.key_or_group)
        if value is None:
            return f"{key}: cannot be null; write ~{bare_key} to leave it out, or choose from {', '.join(options)}"
        wanted = [str(name) for name in (value if isinstance(value, list) else [value])]
        unknown = [name for name in wanted if name not in options]
        if unknown:
            describe = missing_plugin if key.startswith("hydra/") else unknown_option
            return describe(override, unknown[0], options)
        if isinstance(error, MissingConfigException) or not isinstance(error.__context__, OmegaConfBaseException):
            return short_message(error)
        return self.names(config).mistake_in_file(override.key_or_group, error)
