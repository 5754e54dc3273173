"""``lstm-lm train resume=…``: settings that the command line does not give are those of the resumed run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_lm.cli.hydra_run import parse_arguments
from lstm_lm.config.overrides import as_override
from lstm_lm.errors import ConfigError
from lstm_lm.training.config import RESUME_AUTO
from lstm_lm.training.ranks import is_rank_zero

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hydra.core.override_parser.types import Override

# of a resumed run, these are its own
_NOT_TAKEN = ("resume", "init_from", "hydra")
# settings that name an object to import: _target_, and model.cell or data.lines with a module
_RUNS_CODE = re.compile(r"_target_|\b(?:cell|lines)\s*[=:]\s*['\"]?\w+[.:]")


def with_resumed_settings(argv: list[str]) -> list[str]:
    """Add the overrides of the resumed run to a command line, in front of its own.

    They are read from ``.hydra`` in the run folder. A given override replaces a recorded one of the same key, and a
    given group replaces all that was recorded for it. With ``experiment=`` or ``-m``, the command line is complete, and
    nothing is added. ``resume=RUN``, a run folder, becomes ``resume=auto hydra.run.dir=RUN``.

    Raises:
        ConfigError: If the run folder has no checkpoint, or the run was started with code or with configs that have to
            be given again: what a folder contains is never run.
    """
    arguments, flags = parse_arguments("train", argv)
    given = {_key(override): override for override in _parsed(arguments.overrides)}
    resume = given["resume"].value() if "resume" in given else None
    if not isinstance(resume, str) or arguments.multirun:
        return argv
    run_dir = given["hydra.run.dir"].value() if "hydra.run.dir" in given else None
    folder = _run_folder(resume, run_dir)
    own = list(arguments.overrides)
    if resume != RESUME_AUTO and Path(resume).is_dir():
        own = [line for line in own if line != given["resume"].input_line]
        own += _resume_folder(folder, run_dir)
    if folder is None or "experiment" in given or not (folder / ".hydra" / "overrides.yaml").is_file():
        return [*flags, *own]
    recorded = _recorded(folder, set(given), arguments.config_dir)
    if recorded and is_rank_zero():
        print(f"settings of {folder}: {' '.join(recorded)}", file=sys.stderr)
    return [*flags, *recorded, *own]


def _run_folder(resume: str, run_dir: Any) -> Path | None:
    """The folder of the resumed run."""
    if resume == RESUME_AUTO:
        return Path(run_dir) if isinstance(run_dir, str) else None
    return Path(resume) if Path(resume).is_dir() else Path(resume).absolute().parent.parent


def _resume_folder(folder: Path | None, run_dir: Any) -> list[str]:
    """The overrides that ``resume=RUN`` stands for."""
    from lstm_lm.checkpoint import CHECKPOINTS, LAST
    from lstm_lm.training.run_folder import has_checkpoints

    assert folder is not None
    if not has_checkpoints(folder):
        raise ConfigError([f"resume: there is no checkpoint in {folder / CHECKPOINTS}; give the folder of a run"])
    if run_dir is not None:  # continue in another folder
        return [as_override("resume", str(folder / CHECKPOINTS / LAST))]
    return [f"resume={RESUME_AUTO}", as_override("hydra.run.dir", str(folder))]


def _recorded(folder: Path, given: set[str], config_dir: str | None) -> list[str]:
    """The overrides of the run in ``folder`` that are not given."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        lines, config, hydra = (
            OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / f"{name}.yaml"), resolve=False)
            for name in ("overrides", "config", "hydra")
        )
        runtime: Any = hydra["hydra"]["runtime"]  # type: ignore[index, call-overload]
        sources = [source["path"] for source in runtime["config_sources"] if source["provider"] == "command-line"]
        before, data = Path(runtime["cwd"]), dict(config["data"])  # type: ignore[index, call-overload, arg-type]
        recorded = {_key(override): str(override.input_line) for override in _parsed(map(str, lines or ()))}
    except (OSError, YAMLError, OmegaConfBaseException, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            [f"resume: {folder / '.hydra'} cannot be read ({type(error).__name__}); give experiment=NAME again"]
        ) from error
    if sources and config_dir is None:
        raise ConfigError([f"resume: {folder} was started with --config-dir {sources[0]}; give it again"])
    if before != Path.cwd():
        for name, value in data.items():
            if isinstance(value, str) and not Path(value).is_absolute() and (before / value).exists():
                recorded[f"data.{name}"] = as_override(f"data.{name}", str(before / value))
    taken = {key: line for key, line in recorded.items() if not _belongs(key, (*_NOT_TAKEN, *given))}
    if code := [line for line in taken.values() if _RUNS_CODE.search(line)]:
        raise ConfigError(
            [f"resume: {folder} was started with {line}, which runs code; give it again" for line in code]
        )
    return list(taken.values())


def _parsed(lines: Iterable[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, parsed = OverridesParser.create(), []
    for line in lines:
        try:
            parsed += parser.parse_overrides([line])
        except HydraException:
            continue  # reported with all other mistakes
    return parsed


def _key(override: Override) -> str:
    """The key of an override, without its ``+`` or ``~``."""
    key = override.key_or_group.replace("/", ".")
    return key if override.package is None else f"{key}@{override.package}"


def _belongs(key: str, others: Iterable[str]) -> bool:
    """Whether a key is one of ``others`` or inside one."""
    return any(key == other or key.startswith((f"{other}.", f"{other}@")) for other in others)
