"""Find every mistake in a command line and its config files before any work starts."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.types import RunMode

from lstm_lm.config.compose import TolerantConfig, config_folders, config_loader
from lstm_lm.config.groups import Groups
from lstm_lm.config.hydra_settings import Folders, compose_problems, read_folders, read_hydra_settings
from lstm_lm.config.overrides import (
    COMPOSE_ERRORS,
    as_override,
    expand_sweep,
    parse_overrides,
    short_message,
    sweep_lines,
    sweep_without_multirun,
)
from lstm_lm.config.paths import OPEN
from lstm_lm.config.schema import RESUME_AUTO, SCHEMAS, Config, TrainConfig
from lstm_lm.errors import ConfigError, closest


@dataclass(frozen=True)
class CheckedCommand:
    """A command line without mistakes."""

    jobs: list[list[str]]
    """The overrides of every job; one job unless it is a sweep."""
    config: Config
    """The config of the first job."""
    multirun: bool
    """Whether it is a sweep."""
    folders: Folders
    """Where it writes."""
    lines: list[str]
    """The overrides for Hydra, which mean the same as the ones that were typed."""


def check(
    command: str, overrides: Sequence[str], multirun: bool = False, config_dir: str | None = None
) -> CheckedCommand:
    """Compose and check every job of a command line.

    Args:
        command: ``train``, ``eval`` or ``export``.
        overrides: The overrides as typed.
        multirun: Whether ``-m`` was given.
        config_dir: A folder with additional configs (``--config-dir``).

    Raises:
        ConfigError: With every problem of every job.
    """
    with config_loader() as loader:
        return _CommandChecker(command, loader, config_dir).run(overrides, multirun)


class _CommandChecker:
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

    def run(self, lines: Sequence[str], multirun: bool) -> CheckedCommand:
        parsed, problems = parse_overrides(lines, self.loader)
        for override in parsed:
            entries = override.value()
            if override.key_or_group == "hydra.searchpath" and isinstance(entries, list):
                self._add_searchpath([str(entry) for entry in entries])
        hydra_overrides = [o for o in parsed if o.is_hydra_override()]
        hydra, hydra_problems = read_hydra_settings(self.command, hydra_overrides, self.searchpath)
        problems += hydra_problems
        self.groups = Groups(self.folders, hydra.defaults)
        overrides = [o for o in parsed if not o.is_hydra_override()]
        if choices := [choice for o in overrides if (choice := self._choice(o))]:  # a config file may write a sweep
            hydra, _ = read_hydra_settings(self.command, hydra_overrides, self.searchpath, choices)
        multirun = multirun or hydra.multirun
        if multirun:
            params = [f"{key}={value}" for key, value in hydra.sweeper_params.items()]
            sweeper_overrides, sweeper_problems = parse_overrides(params, self.loader)
            overrides = [*sweeper_overrides, *overrides]
            problems += sweeper_problems
        else:
            problems += [sweep_without_multirun(o, self.schema) for o in overrides if o.is_sweep_override()]
            overrides = [o for o in overrides if not o.is_sweep_override()]
        jobs, sweep_problems = expand_sweep(overrides)
        first_config, job_problems = self._check_jobs(jobs, multirun, hydra.overrides)
        problems += sweep_problems + job_problems
        folders = Folders()
        if not problems:
            # Hydra may reject more than we check; it composes the other jobs of a sweep itself before the first starts
            line = [*jobs[0], *hydra.overrides, *self.searchpath]
            problems += compose_problems(partial(compose, self.command, line))
        if not problems:
            try:
                folders = read_folders(compose(self.command, line, return_hydra_config=True), multirun)
            except COMPOSE_ERRORS as error:
                problems.append(short_message(error))
            problems += _folder_problems(first_config, folders, multirun)
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return CheckedCommand(jobs, first_config, multirun, folders, sweep_lines(parsed) if multirun else list(lines))

    def _choice(self, override: Override) -> str | None:
        """The line of an override that chooses one option of a group."""
        chooses = override.key_or_group in self.groups.names and not override.is_sweep_override()
        return override.input_line if chooses and isinstance(override.value(), str) else None

    def _check_jobs(
        self, jobs: list[list[str]], multirun: bool, hydra_overrides: list[str]
    ) -> tuple[Config, list[str]]:
        """Check every job; report a problem that several jobs share once."""
        affected: dict[str, list[str]] = {}
        configs = []
        for job in jobs:
            config, job_problems = self._compose(job, hydra_overrides)
            configs.append(config)
            if multirun:
                job_problems += _sweep_problems(config)
            for problem in dict.fromkeys(job_problems):
                affected.setdefault(problem, []).append(" ".join(job))
        problems = []
        for problem, where in affected.items():
            if len(where) == len(jobs):
                problems.append(problem)
            else:
                problems.append(f"{problem} [in {len(where)} of {len(jobs)} jobs, first {where[0]}]")
        return configs[0], problems

    def _compose(self, job: Sequence[str], hydra_overrides: Sequence[str]) -> tuple[Config, list[str]]:
        """Compose one job and collect its problems."""
        overrides, problems = parse_overrides(job, self.loader)
        choices, values = [], []
        for override in overrides:
            # GROUP={...} sets values in the group; it does not choose an option
            if override.key_or_group not in self.groups.names or isinstance(override.value(), dict):
                values.append(override)
            elif problem := self.groups.problem(override):
                problems.append(problem)
            else:
                choices.append(override.input_line or "")
        config = TolerantConfig(self.schema, self.groups.names)
        hydra_choices = [line for line in hydra_overrides if line.startswith("hydra/")]
        problems += self._merge_files(config, [*choices, *hydra_choices])
        for override in values:
            self._merge_override(config, override)
        built = config.build()
        return built, problems + config.problems

    def _merge_files(self, config: TolerantConfig, choices: list[str]) -> list[str]:
        """Merge the files of the defaults list; choices that Hydra rejects are reported and skipped."""
        problems: list[str] = []
        try:
            parts = self._defaults(choices)
        except COMPOSE_ERRORS as error:
            by_choice = {line: compose_problems(partial(self._defaults, [line])) for line in choices}
            problems = [text for texts in by_choice.values() for text in texts] or [short_message(error)]
            valid = [line for line in choices if not by_choice[line]]
            parts = self._defaults(valid if len(valid) < len(choices) else [])
        for path, package in parts:
            file = next((f for folder in self.folders if (f := folder / f"{path}.yaml").is_file()), None)
            if file is not None:
                config.merge_file(file, package, f"{path}.yaml")
        return problems

    def _defaults(self, choices: list[str]) -> list[tuple[str, str]]:
        """File and package of every part of the config, in merge order."""
        parts = self.loader.compute_defaults_list(self.command, [*choices, *self.searchpath], RunMode.RUN).defaults
        return [
            (part.config_path, part.package or "")
            for part in parts
            if part.config_path is not None and not part.config_path.startswith("hydra/")
        ]

    def _merge_override(self, config: TolerantConfig, override: Override) -> None:
        key = override.key_or_group
        path = key.replace("/", ".").split(".")
        is_node = path[0] in {node.name for node in fields(self.schema)}
        if override.package is not None:
            match = closest(key, self.groups.names)
            remedy = f"; did you mean {match}@{override.package}?" if match else ""
            config.problems.append(f"{override.get_key_element()}: unknown config group{remedy}")
        elif override.is_delete():
            if path[0] == "presets" and len(path) == 2 and path[1] in config.names(path):
                return
            if path[0] in OPEN and len(path) > 1:
                config.remove(path)
                return
            before = len(config.problems)
            config.merge_value(path, config.value(path))
            if len(config.problems) == before:
                config.problems.append(f"~{key}: a setting cannot be removed; give it another value")
        elif override.is_add() and not isinstance(override.value(), dict | list) and config.value(path) is not None:
            plain = (override.input_line or key).lstrip("+")
            config.problems.append(f"+{key}: exists already (is {config.value(path)}); omit the +, as in {plain}")
        elif is_node and len(path) > 1 and path[0] in self.groups.names and config.value(path[:1]) is None:
            options = ", ".join(self.groups.options(path[0]))
            config.problems.append(f"{key}: {path[0]} is null here; choose it first, as in {path[0]}=NAME ({options})")
        elif path[0] == "presets" and len(path) > 1 and path[1] not in config.names(path):
            match = closest(path[1], config.names(path))
            remedy = f"did you mean {match}? " if match else ""
            config.problems.append(
                f"{key}: unknown preset; {remedy}to add one, write +sampling@presets.{path[1]}=OPTION"
            )
        else:
            config.merge_value(path, override.value(), adding=override.is_add() or override.is_force_add())


def _folder_problems(config: Config, folders: Folders, multirun: bool) -> list[str]:
    if not isinstance(config, TrainConfig) or config.resume != RESUME_AUTO or folders.fixed:
        return []
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    return [f"resume: auto needs the same folder each time, and the default one is new; add {key}=FOLDER"]


def _sweep_problems(config: Config) -> list[str]:
    """Problems that a config has only in a sweep."""
    if not isinstance(config, TrainConfig):
        return []
    trainer = config.trainer
    if trainer.strategy == "ddp" or trainer.num_processes > 1:
        return [
            f"trainer.strategy: {trainer.strategy} on {trainer.num_processes} devices cannot be combined with -m, since"
            " every process would run the complete sweep; set trainer.devices=1 trainer.strategy=auto"
        ]
    return []
