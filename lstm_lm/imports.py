"""Classes and functions that the user's config names."""

import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def resolve(path: str) -> Callable[..., Any]:
    """The class or function at a dotted path; modules in the current folder are found too.

    Only for paths of the user's own config: never for one that a checkpoint or a bundle records.

    Raises:
        ImportError: If it does not exist, or its module cannot be imported.
    """
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last, so that no file there shadows an installed package
    try:
        target = pkgutil.resolve_name(path)
    except (AttributeError, ValueError) as error:
        raise ImportError(str(error)) from error
    if not callable(target):
        raise ImportError(f"{path} is not a class or a function")
    return target  # type: ignore[no-any-return]
