"""Objects of the user's choice: ``_target_`` names a class or a function, the other keys are its arguments.

They come from a config only. Nothing that a checkpoint or a bundle records is ever looked up or called.
"""

import functools
import importlib.util
import inspect
import math
import pkgutil
import types
from collections.abc import Callable, Collection, Mapping
from importlib.resources import files
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lstm_lm.errors import ConfigError, did_you_mean
from lstm_lm.imports import resolve

TARGET = "_target_"
_OPTIONS = frozenset({TARGET, "_args_", "_convert_", "_partial_", "_recursive_"})  # read by Hydra, not by the target
_EXTRAS = {"MLFlowLogger": "mlflow", "WandbLogger": "wandb"}


def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a target by name; empty if Python cannot tell them."""
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return {}


def target_problems(node: Any, where: str, provided: Collection[str] = ()) -> list[str]:
    """What is wrong with a mapping that describes an object, without building it.

    Args:
        node: The mapping.
        where: Its path in the config.
        provided: Arguments that the run gives to a target that takes them.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get(TARGET), str):
        return [f"{where}: needs {TARGET}, the path of a class or a function (got {node}); give {where}.{TARGET}=PATH"]
    path = node[TARGET]
    try:
        target = resolve(path)
    except Exception as error:  # the import runs code of the user
        return [f"{where}.{TARGET}: cannot be imported (got {path}){_import_remedy(path, error)}"]
    known = parameters(target)
    if not known:
        return []
    return argument_problems(node, where, target, path) + [
        f"{where}.{name}: {path} needs this argument; give {where}.{name}=VALUE"
        for name, parameter in known.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        and name not in (*node, *provided)
        and "_args_" not in node
    ]


def group_problems(group: Mapping[str, Any], where: str, provided: Collection[str]) -> list[str]:
    """What is wrong with a mapping of names to objects, as in the groups ``callbacks`` and ``logger``.

    An unchanged entry of a shipped option is not imported for this: Lightning takes seconds.

    Args:
        group: The mapping; ``None`` leaves an object out.
        where: Name of the group.
        provided: Arguments that the run gives to a target that takes them.
    """
    problems = []
    for name, node in group.items():
        key = f"{where}.{name}"
        if isinstance(node, Mapping) and (package := _missing_package(node)):
            problems.append(f"{key}: the package {package} is not installed; run pip install 'lstm-lm[{package}]'")
        elif node is not None and node != _shipped(where).get(name):
            problems += target_problems(node, key, provided)
    return problems


def _missing_package(node: Mapping[str, Any]) -> str | None:
    """The extra that a logger of Lightning needs and that is not installed: its class can be imported without."""
    package = _EXTRAS.get(str(node.get(TARGET)).rpartition(".")[2])
    return package if package and importlib.util.find_spec(package) is None else None


@functools.cache
def _shipped(group: str) -> dict[str, Any]:
    import yaml

    entries: dict[str, Any] = {}
    for file in (files("lstm_lm.configs") / group).iterdir():
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        entries |= {name: node for name, node in content.items() if name != "defaults"}
    return entries


def argument_problems(arguments: Mapping[str, Any], where: str, target: Callable[..., Any], path: str) -> list[str]:
    """Arguments that ``target`` does not take, and values of another type than it declares."""
    known = parameters(target)
    kinds = {parameter.kind for parameter in known.values()}
    hints = _hints(target)
    problems = []
    for name, value in arguments.items():
        if name in _OPTIONS:
            continue
        key = f"{where}.{name}"
        if name not in known and inspect.Parameter.VAR_KEYWORD not in kinds:
            otherwise = f"{path} takes {', '.join(known)}; leave it out with ~{key}"
            remedy = did_you_mean(name, known, otherwise=otherwise, form=f"{where}.{{}}")
            problems.append(f"{key}: unknown setting; {remedy}")
        elif isinstance(value, Mapping) and TARGET in value:
            problems += target_problems(value, key)
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{key}: must be a finite number (got {value})")
        elif isinstance(value, str) and _is_number(hints.get(name)):
            problems.append(f"{key}: must be a number (got {value!r})")
    return problems


def build(node: Mapping[str, Any], where: str, **provided: Any) -> Any:
    """Build the object that a mapping describes.

    Args:
        node: The mapping, without problems.
        where: Its path in the config.
        provided: Arguments that are passed if the target takes them and ``node`` does not set them.

    Raises:
        ConfigError: If the target rejects its arguments.
    """
    from hydra.utils import instantiate

    known = parameters(resolve(node[TARGET]))
    given = {name: value for name, value in provided.items() if name in known and name not in node}
    try:
        return instantiate({**node, "_partial_": True, "_convert_": "all"})(**given)
    except Exception as error:
        raise ConfigError([_build_problem(node, where, error)]) from error


def _build_problem(node: Mapping[str, Any], where: str, error: Exception) -> str:
    if isinstance(error, ConfigError):
        return "; ".join(error.problems)
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if reason.partition(":")[0] in node:  # our own targets name the argument first
        return f"{where}.{reason}"
    return f"{where}: {node[TARGET]} rejects its arguments ({reason})"


def _import_remedy(path: str, error: Exception) -> str:
    module_path, _, name = path.rpartition(".")
    try:
        module = pkgutil.resolve_name(module_path)
    except Exception:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return f": {reason}; check the path, or add the folder of its module to PYTHONPATH"
    known = [other for other in dir(module) if callable(getattr(module, other))]
    return "; " + did_you_mean(name, known, otherwise=f"{module_path} has no {name}", form=f"{module_path}.{{}}")


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.getattr_static(target, "__init__") if isinstance(target, type) else target)
    except Exception:  # names that exist only for type checkers
        return {}


def _is_number(annotation: Any) -> bool:
    """Whether an annotation allows numbers and no strings, as far as Python can tell."""
    if get_origin(annotation) in (Union, types.UnionType):
        parts = set(get_args(annotation))
        return bool(parts & {int, float}) and not any(part is str or get_origin(part) is Literal for part in parts)
    return annotation in (int, float)
