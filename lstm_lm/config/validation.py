"""Every mistake in a command line and in the config files that it names, found before any work begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import OmegaConf

from lstm_lm.config.compose import TolerantConfig, config_folders, config_loader
from lstm_lm.config.groups import Groups
from lstm_lm.config.overrides import COMPOSE_ERRORS, as_override, expand, one_line, parse, unasked_sweep
from lstm_lm.config.schema import SCHEMAS, Config, TrainConfig
from lstm_lm.errors import ConfigError


@dataclass(frozen=True)
class Checked:
    """A command line without mistakes.

    Attributes:
        jobs: The overrides of every job; one job unless it is a sweep.
        config: The config of the first job.
        multirun: Whether it is a sweep.
        sweep_dir: The sweep's folder.
    """

    jobs: list[list[str]]
    config: Config
    multirun: bool
    sweep_dir: str


def check(command: str, lines: Sequence[str], multirun: bool = False, config_dir: str | None = None) -> Checked:
    """Compose and check every job of a command line.

    Args:
        command: ``train``, ``eval`` or ``export``.
        lines: The overrides as typed.
        multirun: Whether ``-m`` was given.
        config_dir: A folder with more configs (``--config-dir``).

    Raises:
        ConfigError: With every problem of every job.
    """
    with config_loader() as loader:
        return _Check(command, loader, config_dir).run(lines, multirun)


@dataclass(frozen=True)
class _HydraSettings:
    """What matters here of Hydra's own config, with the overrides that it is made of."""

    lines: list[str]
    multirun: bool
    sweep_dir: str
    sweeper_params: dict[str, str]
    choices: list[str]


class _Check:
    def __init__(self, command: str, loader: ConfigLoader, config_dir: str | None) -> None:
        self.command = command
        self.schema = SCHEMAS[command]
        self.loader = loader
        self.searchpath: list[str] = []
        self.folders = config_folders([])
        if config_dir is not None:
            if not Path(config_dir).is_dir():
                raise ConfigError([f"--config-dir: no such folder (got {config_dir})"])
            self._add_searchpath([f"file://{Path(config_dir).absolute()}"])

    def _add_searchpath(self, entries: Sequence[str]) -> None:
        quoted = ",".join(as_override("x", entry).partition("=")[2] for entry in entries)
        self.searchpath = [f"hydra.searchpath=[{quoted}]"]
        self.folders = config_folders(entries)

    def run(self, lines: Sequence[str], multirun: bool) -> Checked:
        parsed, problems = parse(lines, self.loader)
        for override in parsed:
            entries = override.value()
            if override.key_or_group == "hydra.searchpath" and isinstance(entries, list):
                self._add_searchpath([str(entry) for entry in entries])
        own, found = self._hydra_settings([o for o in parsed if o.is_hydra_override()])
        problems += found
        self.groups = Groups(self.folders, own.choices)
        settings = [o for o in parsed if not o.is_hydra_override()]
        multirun = multirun or own.multirun
        if multirun:
            params, found = parse([f"{key}={value}" for key, value in own.sweeper_params.items()], self.loader)
            settings = [*params, *settings]
            problems += found
        else:
            problems += [unasked_sweep(o, self.schema) for o in settings if o.is_sweep_override()]
            settings = [o for o in settings if not o.is_sweep_override()]
        jobs, found = expand(settings)
        first, more = self._check_jobs(jobs, multirun, own.lines)
        problems += found + more
        if not problems:
            # whatever else Hydra may dislike; the other jobs of a sweep it composes itself before the first begins
            problems += _hydra_problems(partial(compose, self.command, [*jobs[0], *own.lines, *self.searchpath]))
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return Checked(jobs, first, multirun, own.sweep_dir)

    def _check_jobs(self, jobs: list[list[str]], multirun: bool, hydra: list[str]) -> tuple[Config, list[str]]:
        """Check every job; a problem that several jobs share is told once."""
        affected: dict[str, list[str]] = {}
        configs = []
        for job in jobs:
            config, found = self._compose(job, hydra)
            configs.append(config)
            if multirun:
                found += _problems_of_sweep(config)
            for problem in dict.fromkeys(found):
                affected.setdefault(problem, []).append(" ".join(job))
        problems = []
        for problem, where in affected.items():
            if len(where) == len(jobs):
                problems.append(problem)
            else:
                problems.append(f"{problem} [in {len(where)} of {len(jobs)} jobs, first {where[0]}]")
        return configs[0], problems

    def _compose(self, job: Sequence[str], hydra: Sequence[str]) -> tuple[Config, list[str]]:
        """Compose one job as far as it goes."""
        overrides, problems = parse(job, self.loader)
        choices, values = [], []
        for override in overrides:
            # a dictionary for a group's name sets values below it
            if override.key_or_group not in self.groups.names or isinstance(override.value(), dict):
                values.append(override)
            elif problem := self.groups.problem(override):
                problems.append(problem)
            else:
                choices.append(override.input_line or "")
        config = TolerantConfig(self.schema, self.groups.names)
        problems += self._merge_files(config, [*choices, *(line for line in hydra if line.startswith("hydra/"))])
        for override in values:
            self._merge_override(config, override)
        built = config.build()
        return built, problems + config.problems

    def _merge_files(self, config: TolerantConfig, choices: list[str]) -> list[str]:
        """Merge the files of the defaults list, with the choices that Hydra accepts."""
        problems: list[str] = []
        try:
            parts = self._defaults(choices)
        except COMPOSE_ERRORS as error:
            alone = {line: _hydra_problems(partial(self._defaults, [line])) for line in choices}
            problems = [problem for found in alone.values() for problem in found] or [one_line(error)]
            good = [line for line in choices if not alone[line]]
            parts = self._defaults(good if len(good) < len(choices) else [])
        for path, package in parts:
            file = next((f for folder in self.folders if (f := folder / f"{path}.yaml").is_file()), None)
            if file is not None:
                config.merge_file(file, package, f"{path}.yaml")
        return problems

    def _defaults(self, choices: list[str]) -> list[tuple[str, str]]:
        """File and package of every part of the config, in the order of merging."""
        found = self.loader.compute_defaults_list(self.command, [*choices, *self.searchpath], RunMode.RUN).defaults
        return [
            (part.config_path, part.package or "")
            for part in found
            if part.config_path is not None and not part.config_path.startswith("hydra/")
        ]

    def _merge_override(self, config: TolerantConfig, override: Override) -> None:
        key = override.key_or_group
        path = key.replace("/", ".").split(".")
        is_node = path[0] in {node.name for node in fields(self.schema)}
        if override.package is not None:
            near = get_close_matches(key, self.groups.names, n=1)
            remedy = f"; did you mean {near[0]}@{override.package}?" if near else ""
            config.problems.append(f"{override.get_key_element()}: no such config group{remedy}")
        elif override.is_delete():
            if path[0] == "presets" and len(path) == 2 and path[1] in config.names(path):
                return
            before = len(config.problems)
            config.merge_value(path, config.value(path))
            if len(config.problems) == before:
                config.problems.append(f"~{key}: a setting cannot be removed; give it another value")
        elif override.is_add() and not isinstance(override.value(), dict | list) and config.value(path) is not None:
            plain = (override.input_line or key).lstrip("+")
            config.problems.append(f"+{key}: exists already (is {config.value(path)}); leave out the +, as in {plain}")
        elif is_node and len(path) > 1 and path[0] in self.groups.names and config.value(path[:1]) is None:
            options = ", ".join(self.groups.options(path[0]))
            config.problems.append(f"{key}: {path[0]} is null here; choose it first, as in {path[0]}=NAME ({options})")
        elif path[0] == "presets" and len(path) > 1 and path[1] not in config.names(path):
            near = get_close_matches(path[1], config.names(path), n=1)
            remedy = f"did you mean {near[0]}? " if near else ""
            config.problems.append(
                f"{key}: no such preset; {remedy}a new one is made by +sampling@presets.{path[1]}=OPTION"
            )
        else:
            config.merge_value(path, override.value(), adding=override.is_add() or override.is_force_add())

    def _hydra_settings(self, overrides: Sequence[Override]) -> tuple[_HydraSettings, list[str]]:
        """Hydra's own settings, composed without the command's."""
        base = compose(self.command, self.searchpath, return_hydra_config=True)
        problems: list[str] = []
        lines: list[str] = []
        # choices first: hydra.launcher.n_jobs is known once hydra/launcher=joblib is
        for override in sorted(overrides, key=lambda o: not o.key_or_group.startswith("hydra/")):
            line, key = override.input_line or "", override.key_or_group
            if key == "hydra.searchpath":
                continue
            found = _hydra_problems(partial(compose, self.command, [*lines, line, *self.searchpath]))
            if override.is_sweep_override():
                found = [f"{key}: Hydra's own settings cannot be swept over"]
            elif found and "Could not override" in found[0]:
                parent, _, name = key.rpartition(".")
                near = get_close_matches(name, [str(k) for k in OmegaConf.select(base, parent) or ()], n=1)
                found = [f"{key}: Hydra has no such setting" + (f"; did you mean {parent}.{near[0]}?" if near else "")]
            problems += found
            lines += [] if found else [line]
        config = compose(self.command, [*lines, *self.searchpath], return_hydra_config=True) if lines else base
        params = OmegaConf.select(config, "hydra.sweeper.params") or {}
        return _HydraSettings(
            lines=lines,
            multirun=config.hydra.mode == RunMode.MULTIRUN,
            sweep_dir=str(OmegaConf.select(config, "hydra.sweep.dir")),
            sweeper_params={str(key): str(value) for key, value in params.items()},
            choices=[key for key in map(str, base.hydra.runtime.choices) if not key.startswith("hydra/")],
        ), problems


def _problems_of_sweep(config: Config) -> list[str]:
    """What cannot be done in a sweep."""
    if not isinstance(config, TrainConfig):
        return []
    trainer = config.trainer
    if trainer.strategy == "ddp" or trainer.devices > 1:
        return [
            f"trainer.strategy: {trainer.strategy} on {trainer.devices} devices cannot go with -m, since every process "
            "would run the whole sweep again; set trainer.devices=1 trainer.strategy=auto"
        ]
    return []


def _hydra_problems(attempt: Callable[[], object]) -> list[str]:
    try:
        attempt()
    except COMPOSE_ERRORS as error:
        return [one_line(error)]
    return []
