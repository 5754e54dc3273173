"""Find every mistake in a command line and its config files before any work starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lstm_lm.config.compose import Composer, config_loader, config_node, to_dataclass
from lstm_lm.config.messages import COMPOSE_ERRORS, short_message, undeclared, walk
from lstm_lm.config.overrides import (
    expand_sweep,
    line_of,
    parse_overrides,
    sample_sweep,
    sweep_lines,
    sweep_without_multirun,
)
from lstm_lm.config.schema import Config
from lstm_lm.errors import ConfigError
from lstm_lm.training.config import RESUME_AUTO, TrainConfig


@dataclass(frozen=True)
class Folders:
    """Where a command writes."""

    run: str = ""
    """The run folder; only without ``-m``."""
    sweep: str = ""
    """The folder of a sweep; only with ``-m``."""
    subdir: str = ""
    """The folder of a job inside it, before interpolation."""
    fixed: bool = True
    """Whether a repeated command gets the same folder: its name does not contain the time."""
    uses_workers: bool = False
    """Whether the jobs of a sweep run in worker processes."""


@dataclass(frozen=True)
class CheckedCommand:
    """A command line without mistakes."""

    jobs: list[list[str]]
    """The overrides of every checked job."""
    num_jobs: int | None
    """How many jobs run; ``None`` if a sweeper plugin decides it."""
    config: Config
    """The config of the first job."""
    multirun: bool
    """Whether it is a sweep."""
    sweeper: str
    """The class that chooses the jobs of a sweep."""
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
    searchpath = []
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError([f"--config-dir: no such folder (got {config_dir})"])
        searchpath = [f"file://{Path(config_dir).absolute()}"]
    with config_loader() as loader:
        parsed, problems = parse_overrides(overrides, loader)
        for override in parsed:
            entries = override.value()
            if override.key_or_group == "hydra.searchpath" and isinstance(entries, list):
                searchpath = [*map(str, entries), *searchpath]
        others = [override for override in parsed if override.key_or_group != "hydra.searchpath"]
        checked, found = _check(Composer(command, loader, searchpath), others, multirun)
    if problems := list(dict.fromkeys([*problems, *found])):
        raise ConfigError(problems)
    return replace(checked, lines=sweep_lines(parsed) if checked.multirun else list(overrides))


def train_config(*overrides: str, config_dir: str | None = None) -> TrainConfig:
    """The config of ``lstm-lm train`` with these overrides, such as ``"experiment=quickstart"``.

    Args:
        overrides: As on the command line, without ``-m``.
        config_dir: A folder with additional configs.

    Raises:
        ConfigError: With every problem.
    """
    config = check("train", overrides, config_dir=config_dir).config
    assert isinstance(config, TrainConfig)
    return config


def _check(composer: Composer, parsed: list[Override], multirun: bool) -> tuple[CheckedCommand, list[str]]:
    swept = {override.key_or_group for override in parsed if override.is_sweep_override()}
    hydra = [override for override in parsed if override.is_hydra_override()]
    task = [override for override in parsed if not override.is_hydra_override()]
    problems = [f"{o.key_or_group}: Hydra's own settings cannot be swept over" for o in hydra if o.is_sweep_override()]
    hydra_lines = [line_of(override) for override in hydra if not override.is_sweep_override()]
    # without the swept options, the settings inside them may have no place
    fixed = [line_of(o) for o in task if o.key_or_group not in swept and o.key_or_group.partition(".")[0] not in swept]
    config, _ = composer.compose([*hydra_lines, *fixed])
    multirun = multirun or config.hydra.mode == RunMode.MULTIRUN
    num_jobs: int | None = 1
    if multirun:
        params = [f"{key}={value}" for key, value in (OmegaConf.select(config, "hydra.sweeper.params") or {}).items()]
        in_config, config_problems = parse_overrides(params, composer.loader)
        if str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):
            jobs, sweep_problems = expand_sweep([*in_config, *task])
            problems += config_problems + sweep_problems
            num_jobs = len(jobs)
        else:
            jobs, num_jobs = sample_sweep([*in_config, *task]), None
    else:
        problems += [sweep_without_multirun(o, composer.schema) for o in task if o.is_sweep_override()]
        jobs = [[line_of(override) for override in task if not override.is_sweep_override()]]
    first, job_problems = _check_jobs(composer, jobs, hydra_lines, multirun)
    problems += job_problems
    folders = Folders()
    if not problems:
        try:
            folders = _read_folders(config, multirun)
        except COMPOSE_ERRORS as error:
            problems.append(short_message(error))
        problems += _folder_problems(first, folders, multirun)
    sweeper = str(config.hydra.sweeper._target_)
    return CheckedCommand(jobs, num_jobs, first, multirun, sweeper, folders, lines=[]), problems


def _check_jobs(
    composer: Composer, jobs: list[list[str]], hydra_lines: list[str], multirun: bool
) -> tuple[Config, list[str]]:
    """Check every job; report a problem that several jobs share once."""
    affected: dict[str, list[str]] = {}
    configs = []
    for job in jobs:
        composed, problems = composer.compose([*hydra_lines, *job])
        config, found = build(composed, composer)
        configs.append(config)
        for problem in dict.fromkeys([*problems, *found, *(_sweep_problems(config) if multirun else [])]):
            affected.setdefault(problem, []).append(" ".join(job))
    problems = []
    for problem, where in affected.items():
        if len(where) == len(jobs):
            problems.append(problem)
        else:
            problems.append(f"{problem} [in {len(where)} of {len(jobs)} jobs, first {where[0]}]")
    return configs[0], problems


def build(composed: DictConfig, composer: Composer) -> tuple[Config, list[str]]:
    """Convert a composed config to its dataclass.

    Returns:
        The dataclass, with defaults for what is missing or cannot be resolved, and the problems of its settings.
    """
    config = composed.copy()
    with open_dict(config):
        del config["hydra"]
    problems = [composer.names(config).unknown(path) for path in undeclared(config)]
    for path, node in walk(config):
        if OmegaConf.is_missing(node, name := path.rpartition(".")[2]):
            problems.append(f"{path}: is required; give {path}=VALUE")
            node[name] = ""
    unresolved: set[str] = set()
    while True:
        try:
            built = to_dataclass(config)
        except OmegaConfBaseException as error:
            path = str(error.full_key).partition("[")[0]
            problems.append(f"{path}: cannot be resolved ({str(error).splitlines()[0]})")
            if path in unresolved:
                raise ConfigError(problems) from error
            unresolved.add(path)
            OmegaConf.update(config, path, OmegaConf.select(config_node(composer.schema), path))
        else:
            known = {problem.partition(":")[0] for problem in problems}
            return built, problems + [text for text in built.problems() if text.partition(":")[0] not in known]


def _read_folders(config: DictConfig, multirun: bool) -> Folders:
    """The folders of a command, from its composed config with Hydra's settings."""
    node = config.hydra.sweep if multirun else config.hydra.run
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    fixed = "${now:" not in str(plain["dir"])
    if multirun:
        uses_workers = "joblib" in str(OmegaConf.select(config, "hydra.launcher._target_"))
        return Folders(sweep=str(node.dir), subdir=str(plain["subdir"]), fixed=fixed, uses_workers=uses_workers)
    return Folders(run=str(node.dir), fixed=fixed)


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
    if trainer.uses_processes:
        return [
            f"trainer.strategy: {trainer.strategy} with {trainer.num_processes} processes cannot be combined with -m, "
            "since every process would run the complete sweep; set trainer.devices=1 trainer.num_nodes=1 "
            "trainer.strategy=auto"
        ]
    return []
