"""Which fields differ between members, and whether one program can compute all of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..config import Call, Config
from ..config.overrides import leaves
from ..errors import UserError, one_line
from ..types import PyTree

Numbers = dict[str, PyTree]
"""The numbers that differ between members, by the path of their field: float32 `[N]`, or `[]` of one member."""

_NOT_IN_A_STEP = ("checkpoint", "data", "health", "log", "metrics", "parallel", "sample")
_OFFER = "leave --members out, or use --members processes"


def differing(members: Sequence[Config]) -> list[str]:
    """Returns the paths of the fields that are not the same in all members."""
    values = [{path: value for path, value, _ in leaves(member)} for member in members]
    absent = object()
    paths = dict.fromkeys(path for one in values for path in one)
    return [path for path in paths if any(one.get(path, absent) != values[0].get(path, absent) for one in values)]


def numbers_of(members: Sequence[Config]) -> Numbers:
    """Returns the numbers that differ between members, besides the seed, in host memory.

    Raises:
        UserError: something else differs, which needs another program.
    """
    numbers = {}
    values = [{path: value for path, value, _ in leaves(member)} for member in members]
    for path in differing(members):
        if path == "seed":
            continue
        found = [one.get(path) for one in values]
        if path.partition(".")[0] in _NOT_IN_A_STEP:
            raise UserError(f"{path} differs between members, and it is no number in a training step: {_OFFER}")
        if not all(type(value) in (int, float) for value in found):
            raise UserError(f"{path} differs between members, and it is no number in each of them: {_OFFER}")
        if all(type(value) is int for value in found):
            raise UserError(
                f"{path} differs between members, and a whole number may decide about the program: {_OFFER}"
            )
        numbers[path] = np.asarray(found, np.float32)
    return numbers


def check_one_program(config: Config) -> None:
    """Raises UserError if members with such a config cannot share one program."""
    if config.init_from:
        raise UserError(f"init_from is set, and members in one program begin with new weights: {_OFFER}")
    if config.health.returns:
        raise UserError(
            f"health.returns={config.health.returns}, but members in one program are at one step, so none can go "
            f"back alone: set it to 0, or {_OFFER}"
        )


def with_numbers(config: Config, numbers: Mapping[str, PyTree]) -> Config:
    """Returns the config with these numbers, which may be traced, in place of its own."""
    changed: object = config
    for path, number in numbers.items():
        changed = _set(changed, path.split("."), number)
    assert isinstance(changed, Config)
    return changed


def on_device(numbers: Numbers) -> Numbers:
    """Returns numbers of all members as weakly typed arrays, `[N]`.

    Python's numbers are weakly typed too: so one of them does not turn a bfloat16 array into float32.
    """
    return {path: jnp.stack([jnp.asarray(float(one)) for one in number]) for path, number in numbers.items()}


def _set(node: object, parts: Sequence[str], value: object) -> object:
    if not parts:
        return value
    part, *rest = parts
    if isinstance(node, Call):
        return Call(node.name, **{**node.kwargs, part: _set(node.kwargs[part], rest, value)})
    if isinstance(node, tuple):
        index = int(part)
        return (*node[:index], _set(node[index], rest, value), *node[index + 1 :])
    assert dataclasses.is_dataclass(node)
    assert not isinstance(node, type)
    return dataclasses.replace(node, **{part: _set(getattr(node, part), rest, value)})


def check_traces(numbers: Numbers, trace: Callable[[Numbers], object]) -> None:
    """Calls `trace` with the shapes of all numbers, and names the one that cannot be traced.

    Raises:
        UserError: the code of a field reads the value of its number while the program is made.
    """
    try:
        trace(numbers)
        return
    except Exception as error:
        if not _reads_a_value(error):
            raise
        failure = error
    for path, number in numbers.items():
        try:
            trace({path: number})
        except Exception as error:
            if _reads_a_value(error):
                raise UserError(
                    f"{path} differs between members, and the code that it belongs to decides by its value, so "
                    f"each value is another program: {_OFFER}"
                ) from error
    raise UserError(f"{one_line(failure)}: {_OFFER}") from failure


def _reads_a_value(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that Python read the value of a traced number."""
    kinds = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError)
    while error is not None:
        if isinstance(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False
