"""Arguments of Lightning's Trainer that are not settings of our own: ``trainer.accumulate_grad_batches=4``."""

from collections.abc import Mapping
from typing import Any

from lstm_lm.errors import did_you_mean
from lstm_lm.training.targets import TARGET, argument_problems, build, parameters

MANAGED = {
    "barebones": "it turns off the callbacks that make a run resumable",
    "callbacks": "add a callback with callbacks.NAME._target_=PATH",
    "check_val_every_n_epoch": "set trainer.val_check_interval, or trainer.max_val_fraction with a budget",
    "default_root_dir": "set hydra.run.dir",
    "enable_checkpointing": "every run keeps best.ckpt and last.ckpt",
    "enable_progress_bar": "leave the bar out with ~callbacks.progress_bar",
    "limit_predict_batches": "training does not predict",
    "limit_test_batches": "training never reads test; use lstm-lm eval",
    "logger": "choose loggers with the group logger, as in logger=[csv,tensorboard]",
    "max_time": "set trainer.budget",
    "num_sanity_val_steps": "a sanity check would count as a validation; try trainer.fast_dev_run=true",
    "overfit_batches": "set trainer.overfit_one_batch=true and trainer.max_steps=300",
    "plugins": "checkpoints are written by the run itself; set trainer.precision or trainer.strategy",
    "reload_dataloaders_every_n_epochs": "the windows of an epoch follow from the seed; see batching.random_offset",
    "use_distributed_sampler": "every process already trains on its own streams",
}
"""Arguments that the run sets itself, and what to do instead."""


def trainer_argument_problems(arguments: Mapping[str, Any], own: Mapping[str, Any], budget: str | None) -> list[str]:
    """What is wrong with the arguments that are passed on to Lightning's Trainer.

    Args:
        arguments: The arguments.
        own: The settings of ``trainer`` that are our own, for suggestions.
        budget: ``trainer.budget``.
    """
    if not arguments:
        return []
    import lightning as L

    known = parameters(L.Trainer)
    problems = []
    passed_on = {}
    for name, value in arguments.items():
        key = f"trainer.{name}"
        if name in MANAGED:
            problems.append(f"{key}: is managed by the run (got {value}); {MANAGED[name]}")
        elif name not in known:
            names = [*own, *(known.keys() - MANAGED.keys())]
            remedy = did_you_mean(name, names, otherwise="see the arguments of lightning.Trainer", form="trainer.{}")
            problems.append(f"{key}: unknown setting; {remedy}")
        elif name in ("min_epochs", "min_steps") and budget is not None:
            problems.append(f"{key}: trainer.budget={budget} ends the run (got {value}); leave out one of the two")
        else:
            passed_on[name] = value
    problems += argument_problems(passed_on, "trainer", L.Trainer, "lightning.Trainer")
    batches = passed_on.get("accumulate_grad_batches", 1)
    if isinstance(batches, int) and batches < 1:
        problems.append(f"trainer.accumulate_grad_batches: must be at least 1 (got {batches})")
    return problems


def build_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with every ``_target_`` built.

    Raises:
        ConfigError: If a target rejects its arguments.
    """
    return {
        name: build(value, f"trainer.{name}") if isinstance(value, Mapping) and TARGET in value else value
        for name, value in arguments.items()
    }
