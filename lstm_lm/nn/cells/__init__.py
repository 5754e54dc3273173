"""The recurrent cells, one module each, found by name; this module does not import torch.

A cell of this package is named by its module: ``lstm``. One from elsewhere is named by its class: ``mymodule:MyCell``.
A checkpoint or a bundle never makes code run: the module that it names must be imported already, or be listed in the
environment variable ``LSTM_LM_CELLS``. Only the user's own config imports any module.
"""

import os
import sys
from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from lstm_lm.errors import CellNotImportedError, did_you_mean
from lstm_lm.serialization import dataclass_from_plain
from lstm_lm.settings import CELLS, Settings

if TYPE_CHECKING:
    from lstm_lm.nn.cells.base import Cell

DEFAULT_CELL = "lstm"


def cell_names() -> list[str]:
    """Names of the cells of this package."""
    return sorted(module.name for module in iter_modules(__path__) if module.name != "base")


def name_problem(cell: str) -> str | None:
    """What is wrong with the name of a cell; does not import it."""
    module, colon, name = cell.partition(":")
    if cell in cell_names() or (colon and name.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        return None
    return (
        f"cell: unknown cell (got {cell!r}); {did_you_mean(cell, cell_names())} (a class of your own: mymodule:MyCell)"
    )


def import_cell(module: str) -> None:
    """Import the module of a cell from outside the package. Call it only with what the user named.

    Raises:
        ValueError: If there is no such module, or importing it fails.
    """
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"{module} needs the module {error.name}, which is not installed") from error
        raise ValueError(f"no module named {module}; install it, or add its folder to PYTHONPATH") from error
    except Exception as error:  # the user's own code
        raise ValueError(f"importing {module} failed ({type(error).__name__}: {error})") from error


def cell_class(cell: str) -> "type[Cell]":
    """The class of a cell of this package, or of one whose module is imported already or listed in ``LSTM_LM_CELLS``.

    Raises:
        CellNotImportedError: If its module is not imported.
        ValueError: If the name is unknown, or it is not a subclass of ``Cell``.
    """
    from lstm_lm.nn.cells.base import Cell

    if problem := name_problem(cell):
        raise ValueError(problem)
    module_name, _, name = cell.partition(":")
    if not name:
        module = import_module(f"{__name__}.{cell}")
        return next(
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Cell) and value.__module__ == module.__name__
        )
    if module_name in os.environ.get(CELLS, "").split(","):
        import_cell(module_name)
    if module_name not in sys.modules:
        raise CellNotImportedError(
            f"cell: {cell} is not part of lstm_lm, and its module is not imported; if you trust {module_name}, set "
            f"{CELLS}={module_name}, or import it first in Python"
        )
    found = getattr(sys.modules[module_name], name, None)
    if not (isinstance(found, type) and issubclass(found, Cell)):
        raise ValueError(f"cell: {cell} is not a subclass of lstm_lm.nn.cells.base.Cell")
    return found


def cell_options(cell: str, given: dict[str, Any]) -> Settings:
    """The options of a cell as its dataclass.

    Raises:
        CellNotImportedError: As in :func:`cell_class`.
        ValueError: If the cell cannot be found, or an option is unknown, of another type or out of range.
    """
    options_class: Any = cell_class(cell).Options
    names = [field.name for field in fields(options_class)]
    for name in given.keys() - set(names):
        known = did_you_mean(name, names, otherwise=f"{cell} has {', '.join(names)}" if names else "it has none")
        raise ValueError(f"cell_options.{name}: {cell} has no such option; {known}")
    options: Settings = dataclass_from_plain(options_class, given, "cell_options")
    if problems := [f"cell_options.{problem}" for problem in options.problems()]:
        raise ValueError("; ".join(problems))
    return options
