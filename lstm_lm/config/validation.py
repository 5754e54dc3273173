"""Every mistake in a command line and in the config files that it names, found before any work begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lstm_lm.config.compose import TolerantConfig, config_folders, config_loader
from lstm_lm.config.overrides import as_override, expand, one_line, parse, shell_override
from lstm_lm.config.paths import UnknownPathError, kind_at, without_none
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
    multirun: bool
    sweep_dir: str
    sweeper_params: dict[str, str]


class _Check:
    def __init__(self, command: str, loader: ConfigLoader, config_dir: str | None) -> None:
        self.command = command
        self.loader = loader
        self.extra: list[str] = []
        self.folders = config_folders([])
        if config_dir is not None:
            if not Path(config_dir).is_dir():
                raise ConfigError([f"--config-dir: no such folder (got {config_dir})"])
            self._add_searchpath([f"file://{Path(config_dir).absolute()}"])

    def _add_searchpath(self, entries: Sequence[str]) -> None:
        quoted = ",".join(as_override("x", entry).partition("=")[2] for entry in entries)
        self.extra = [f"hydra.searchpath=[{quoted}]"]
        self.folders = config_folders(entries)

    def run(self, lines: Sequence[str], multirun: bool) -> Checked:
        parsed, problems = parse(lines, self.loader)
        for override in parsed:
            if override.key_or_group == "hydra.searchpath" and isinstance(override.value(), list):
                self._add_searchpath([str(entry) for entry in override.value()])  # type: ignore[union-attr]
        self.groups = self._options("", ObjectType.GROUP)
        defaults = self.loader.compute_defaults_list(self.command, self.extra, RunMode.RUN)
        self.chosen = sorted(defaults.overrides.known_choices)
        hydra = [o for o in parsed if o.is_hydra_override() and o.key_or_group != "hydra.searchpath"]
        settings = [o for o in parsed if not o.is_hydra_override()]
        own, found = self._hydra_settings(hydra)
        problems += found
        multirun = multirun or own.multirun
        if multirun:
            extra, found = parse([f"{key}={value}" for key, value in own.sweeper_params.items()], self.loader)
            settings = [*extra, *settings]
            problems += found
        else:
            problems += [self._unasked_sweep(o) for o in settings if o.is_sweep_override()]
            settings = [o for o in settings if not o.is_sweep_override()]
        jobs, found = expand(settings)
        problems += found
        first = self._check_jobs(jobs, problems, multirun, [o.input_line or "" for o in hydra])
        return Checked(jobs, first, multirun, own.sweep_dir)

    def _check_jobs(self, jobs: list[list[str]], problems: list[str], multirun: bool, hydra: list[str]) -> Config:
        """Check every job; a problem that all jobs share is told once."""
        where: dict[str, list[str]] = {}
        configs = []
        for job in jobs:
            config, found = self._compose(job, hydra)
            configs.append(config)
            if multirun:
                found += _problems_of_sweep(config)
            for problem in dict.fromkeys(found):
                where.setdefault(problem, []).append(" ".join(job))
        for problem, affected in where.items():
            some = "" if len(affected) == len(jobs) else f" [in the job {affected[0]}]"
            if some and len(affected) > 1:
                some = f" [in {len(affected)} of {len(jobs)} jobs, first {affected[0]}]"
            problems.append(problem + some)
        if not problems:
            # whatever else Hydra may dislike; the other jobs of a sweep it composes itself before the first begins
            problems += _hydra_problems(lambda: compose(self.command, [*jobs[0], *hydra, *self.extra]))
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))
        return configs[0]

    def _compose(self, job: Sequence[str], hydra: Sequence[str]) -> tuple[Config, list[str]]:
        """Compose one job as far as it goes."""
        overrides, problems = parse(job, self.loader)
        groups, values = [], []
        for override in overrides:
            # a dictionary for a group's name sets values below it
            if override.key_or_group in self.groups and not isinstance(override.value(), dict):
                problem = self._problem_of_choice(override)
                problems += [problem] if problem else []
                if problem is None and override.input_line is not None:
                    groups.append(override.input_line)
            else:
                values.append(override)
        config = TolerantConfig(SCHEMAS[self.command], self.groups)
        problems += self._merge_files(config, groups, [line for line in hydra if line.startswith("hydra/")])
        for override in values:
            self._merge_override(config, override)
        built = config.build()
        return built, problems + config.problems

    def _merge_files(self, config: TolerantConfig, groups: list[str], hydra: list[str]) -> list[str]:
        """Merge the files of the defaults list, with the group choices that Hydra accepts."""

        def attempt(choices: list[str]) -> list[str]:
            return _hydra_problems(lambda: self._defaults([*choices, *self.extra]))

        problems = attempt([*groups, *hydra])
        if problems:
            alone = {line: attempt([line]) for line in [*groups, *hydra]}
            found = [problem for line in alone for problem in alone[line]]
            groups = [line for line in [*groups, *hydra] if not alone[line]]
            problems = found or problems
            if attempt(groups):
                return problems
            hydra = []
        for default in self._defaults([*groups, *hydra, *self.extra]):
            path, package = default
            file = next((f for folder in self.folders if (f := folder / f"{path}.yaml").is_file()), None)
            if file is not None:
                try:
                    config.merge_file(file, package, f"{path}.yaml")
                except (OmegaConfBaseException, ValueError) as error:
                    problems.append(f"{path}.yaml: cannot be read ({one_line(error)})")
        return problems

    def _defaults(self, lines: list[str]) -> list[tuple[str, str]]:
        """File and package of every part of the config, in the order of merging."""
        found = self.loader.compute_defaults_list(self.command, lines, RunMode.RUN).defaults
        return [
            (part.config_path, part.package or "")
            for part in found
            if part.config_path is not None and not part.config_path.startswith("hydra/")
        ]

    def _merge_override(self, config: TolerantConfig, override: Override) -> None:
        key = override.key_or_group
        path = key.replace("/", ".").split(".")
        if override.package is not None:
            near = get_close_matches(key, self.groups, n=1)
            remedy = f"; did you mean {near[0]}@{override.package}?" if near else ""
            config.problems.append(f"{override.get_key_element()}: no such config group{remedy}")
        elif override.is_delete():
            if len(path) > 1 and path[0] == "presets" and path[1] in config.names(path):
                return
            before = len(config.problems)
            config.merge_value(path, config.value(path))
            if len(config.problems) == before:
                config.problems.append(f"~{key}: a setting cannot be removed; give it another value")
        elif override.is_add() and not isinstance(override.value(), dict | list) and config.value(path) is not None:
            config.problems.append(
                f"+{key}: exists already (is {config.value(path)}); leave out the +, as in {override.input_line[1:]}"
                if override.input_line
                else f"+{key}: exists already"
            )
        elif len(path) > 1 and self._is_null(config, path[0]):
            options = ", ".join(self._options(path[0]))
            config.problems.append(f"{key}: {path[0]} is null here; choose it first, as in {path[0]}=NAME ({options})")
        elif path[0] == "presets" and len(path) > 1 and path[1] not in config.names(path):
            near = get_close_matches(path[1], config.names(path), n=1)
            remedy = f"did you mean {near[0]}? " if near else ""
            config.problems.append(
                f"{key}: no such preset; {remedy}a new one is made by +sampling@presets.{path[1]}=OPTION"
            )
        else:
            config.merge_value(path, override.value(), adding=override.is_add() or override.is_force_add())

    def _is_null(self, config: TolerantConfig, name: str) -> bool:
        return (
            name in self.groups and name in SCHEMAS[self.command].__dataclass_fields__ and config.value([name]) is None
        )

    def _problem_of_choice(self, override: Override) -> str | None:
        group, value = override.key_or_group, override.value()
        options = self._options(group)
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

    def _options(self, group: str, kind: ObjectType = ObjectType.CONFIG) -> list[str]:
        names = self.loader.get_group_options(group, kind, self.command, self.extra)
        return sorted(name for name in names if name != "hydra" and not name.startswith("__"))

    def _unasked_sweep(self, override: Override) -> str:
        key, value = override.key_or_group, override.get_value_string()
        try:
            kind = without_none(kind_at(SCHEMAS[self.command], key.split(".")))
        except UnknownPathError:
            kind = None
        if getattr(kind, "__origin__", None) is list:
            return f"{key}: several values (got {value}); write a list as {key}=[{value}]"
        quoted = f", or quote a single text: {shell_override(key, value)}" if kind is str else ""
        return f"{key}: several values (got {value}); add -m to run a job for each{quoted}"

    def _hydra_settings(self, overrides: Sequence[Override]) -> tuple[_HydraSettings, list[str]]:
        """Hydra's own settings that matter here, composed without the command's."""
        base = compose(self.command, self.extra, return_hydra_config=True)
        problems, lines = [], []
        for override in overrides:
            line, key = override.input_line or "", override.key_or_group
            found = _hydra_problems(partial(compose, self.command, [line, *self.extra]))
            if override.is_sweep_override():
                found = [f"{key}: Hydra's own settings cannot be swept over"]
            elif found and "Could not override" in found[0]:
                parent, _, name = key.rpartition(".")
                near = get_close_matches(name, [str(k) for k in OmegaConf.select(base, parent) or ()], n=1)
                found = [f"{key}: Hydra has no such setting" + (f"; did you mean {parent}.{near[0]}?" if near else "")]
            problems += found
            lines += [] if found else [line]
        config = compose(self.command, [*lines, *self.extra], return_hydra_config=True)
        params = OmegaConf.select(config, "hydra.sweeper.params") or {}
        return _HydraSettings(
            multirun=config.hydra.mode == RunMode.MULTIRUN,
            sweep_dir=str(OmegaConf.select(config, "hydra.sweep.dir")),
            sweeper_params={str(key): str(value) for key, value in params.items()},
        ), problems


def _problems_of_sweep(config: Config) -> list[str]:
    if not isinstance(config, TrainConfig):
        return []
    trainer = config.trainer
    if trainer.strategy == "ddp" or (trainer.strategy == "auto" and trainer.devices > 1):
        return [
            f"trainer.strategy: {trainer.strategy} on {trainer.devices} devices cannot go with -m, since every process "
            "would run the whole sweep again; set trainer.strategy=ddp_spawn or trainer.devices=1"
        ]
    return []


def _hydra_problems(attempt: Callable[[], object]) -> list[str]:
    try:
        attempt()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        return [one_line(error)]
    return []
