"""``lstm-lm tune`` and ``lstm-lm tune-report``."""

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstm_lm.cli.console import READ_IN_TRAINING, print_commands, print_rows, relative_path
from lstm_lm.errors import ConfigError
from lstm_lm.search.config import SearchConfig

if TYPE_CHECKING:
    import lightning as L
    from optuna import Study
    from optuna.trial import Trial

STUDIES = Path("outputs") / "tune"
_SEARCH = "search"  # user attribute of a study: its settings, which all its workers have
_RESERVED = ("seed", "resume", "hydra.run.dir", "name")

StudyOption = Annotated[str, typer.Option(help="Name of the study; one of the same name and storage continues.")]
StorageOption = Annotated[
    str | None,
    typer.Option(help="Optuna storage URL that several machines can share, as postgresql+psycopg://USER@HOST/NAME."),
]


def tune(
    overrides: Annotated[
        list[str],
        typer.Argument(
            help="Settings of lstm-lm train; those with several values are varied. search=NAME varies the settings of "
            "a file in configs/search: dropout, lr, lr_dropout, model, or one of --config-dir."
        ),
    ],
    study: StudyOption = SearchConfig.study,
    storage: StorageOption = None,
    trials: Annotated[int, typer.Option(help="Trials in the whole study.")] = SearchConfig.trials,
    sampler: Annotated[str, typer.Option(help="tpe, grid or random.")] = SearchConfig.sampler,
    pruner: Annotated[
        str, typer.Option(help="Stops bad trials at a validation: median, hyperband or none.")
    ] = SearchConfig.pruner,
    startup_trials: Annotated[
        int, typer.Option(help="Trials that finish before median stops one.")
    ] = SearchConfig.startup_trials,
    seeds: Annotated[int, typer.Option(help="Seeds of each trial; its value is their mean.")] = SearchConfig.seeds,
    heartbeat: Annotated[
        int, typer.Option(help="A trial without a sign of life for twice as many seconds is repeated.")
    ] = SearchConfig.heartbeat,
    config_dir: Annotated[str | None, typer.Option(help="Folder with your own options.")] = None,
) -> None:
    """Search for the settings with the lowest valid perplexity.

    a,b and range(1,4) list values, interval(0.1,0.5) is a range, tag(log,interval(1e-4,1e-2)) a logarithmic one. The
    same command continues the study; with the same storage, several at once share it.
    """
    from lstm_lm.search.report import displayed
    from lstm_lm.search.space import parse_space, read_spaces
    from lstm_lm.search.study import first_attempt, open_study, quiet_optuna, run_trials
    from lstm_lm.search.trials import run_trial

    search = _checked(SearchConfig(study, storage, trials, sampler, pruner, startup_trials, seeds, heartbeat))
    lines = read_spaces(overrides, config_dir)
    varied, fixed = parse_space(lines)
    num_points = math.prod(map(len, varied.grid().values())) if sampler == "grid" else 0
    _check(fixed, varied.examples(), config_dir)
    folder = STUDIES / study
    quiet_optuna()
    opened = open_study(search, varied, folder)
    settings = {"fixed": fixed, "varied": [line for line in lines if line not in fixed], "seeds": seeds}
    known = opened.user_attrs.get(_SEARCH, settings)
    if {name: known[name] for name in settings} != settings:
        command = shlex.join([*known["fixed"], *known["varied"], "--seeds", str(known["seeds"])])
        raise ConfigError([f"--study {study}: has other settings ({command}); repeat these or choose another name"])
    opened.set_user_attr(_SEARCH, {**settings, "config_dir": config_dir and str(Path(config_dir).absolute())})
    if num_points > trials:
        print(f"the grid has {num_points:,} points; --trials {num_points} tries all of them")

    def objective(trial: "Trial") -> float:
        chosen = varied.suggest(trial)
        number = first_attempt(trial)
        print(f"trial {trial.number}: {' '.join(displayed(chosen))}", flush=True)
        run_dir = folder / f"trial-{number:04d}"
        value = run_trial(
            trial, [*fixed, *chosen], run_dir, seeds, lambda lines, added: _train(lines, added, config_dir)
        )
        print(f"trial {trial.number}: valid perplexity {value:.2f}", flush=True)
        return value

    try:
        run_trials(opened, search, objective)
    finally:
        _report(opened, folder)


def tune_report(study: StudyOption = SearchConfig.study, storage: StorageOption = None) -> None:
    """Show a study: its trials, the best one as an experiment, and pictures."""
    from lstm_lm.search.study import open_existing_study, quiet_optuna

    quiet_optuna()
    folder = STUDIES / study
    _report(open_existing_study(_checked(SearchConfig(study, storage)), folder), folder)


def _checked(search: SearchConfig) -> SearchConfig:
    if problems := search.problems():
        raise ConfigError([f"--{problem.replace('_', '-', 1)}" for problem in problems])
    return search


def _check(fixed: list[str], examples: list[list[str]], config_dir: str | None) -> None:
    """Report every mistake before the first trial, and a corpus that cannot be read."""
    from lstm_lm.cli.encoding_bar import encoding_bar
    from lstm_lm.config.validation import check
    from lstm_lm.data.encoding import load_corpus

    problems = [
        f"{line.partition('=')[0]}: is set by the search; remove it"
        for line in fixed
        if line.partition("=")[0].lstrip("+~") in _RESERVED
    ]
    if not examples:
        problems.append("no setting is varied; give values, as in optimizer.lr=1e-3,3e-3")
    corpora: list[Any] = []
    for example in examples:
        try:
            config: Any = check("train", [*fixed, *example], config_dir=config_dir).config
        except ConfigError as error:
            problems += error.problems
        else:
            corpora += [config.data] if config.data not in corpora else []
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    with encoding_bar() as progress:
        for corpus in corpora:
            load_corpus(corpus, progress)


def _train(overrides: list[str], callbacks: "list[L.Callback]", config_dir: str | None) -> float:
    """Run one training in its run folder, as lstm-lm train does; returns its best valid perplexity."""
    from lstm_lm.cli.hydra_run import run
    from lstm_lm.cli.sweep import read_perplexity
    from lstm_lm.cli.train import train_and_report
    from lstm_lm.errors import TrainingError
    from lstm_lm.training.config import TrainConfig
    from lstm_lm.training.run_folder import open_run_folder

    def job(config: TrainConfig, run_dir: Path) -> float | None:
        metrics = train_and_report(config, run_dir, callbacks)
        perplexity: float | None = metrics.get("valid", {}).get("perplexity")
        return perplexity

    flags = ["--config-dir", config_dir] if config_dir else []
    run("train", [*flags, *overrides], job, open_run_folder)
    run_dir = Path(overrides[-1].partition("=")[2])
    if (perplexity := read_perplexity(run_dir)) is None:
        raise TrainingError(f"{run_dir}: the training has no finite valid perplexity")
    return perplexity


def _report(study: "Study", folder: Path) -> None:
    """Print the trials; write the best one as an experiment, and pictures."""
    from optuna.trial import TrialState

    from lstm_lm.cli.command_help import config_groups
    from lstm_lm.report.page import REPORT
    from lstm_lm.search.report import as_experiment, deletions, draw, importances, rows, study_report
    from lstm_lm.text.files import write_atomically

    header = ("trial", "state", "valid perplexity", "settings")
    print_rows(f"Study {study.study_name}, best first", header, rows(study), READ_IN_TRAINING)
    if not any(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False)):
        return
    for name, share in importances(study).items():
        print(f"importance of {name}: {share:.2f}")
    search = study.user_attrs.get(_SEARCH, {})
    fixed = search.get("fixed", [])
    experiment = as_experiment(study, fixed, config_groups())
    best = folder / "experiment" / "best.yaml"
    best.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(best, experiment)
    own_configs = [f"hydra.searchpath=[file://{path}]"] if (path := search.get("config_dir")) else []
    chosen = [*own_configs, "experiment=best", *deletions(fixed), "seed=1"]
    command = ["lstm-lm", "train", "--config-dir", relative_path(folder), *chosen]
    page = study_report(study, header, draw(study, folder), experiment, shlex.join(command))
    write_atomically(folder / REPORT, page)
    print(f"report: {relative_path(folder / REPORT)}")
    print_commands([("run the best trial again", command)])
