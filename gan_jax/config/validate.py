"""Checks the types and ranges of a config's fields."""

import dataclasses
import sys
import types
import typing
from typing import Literal

from ..errors import UserError, quoted
from .resolve import Call, field_types
from .schema import Config
from .serialize import LARGEST_INT, to_plain
from .values import UNIONS, describe


def validate(config: Config) -> None:
    """Raises UserError at the first field that has the wrong type or is out of its range."""
    _check(config, Config, "")
    if not config.name:
        raise UserError("name must not be empty")
    if config.name in (".", "..") or any(one in "/\\" or not one.isprintable() for one in config.name):
        raise UserError(
            f"name must be a plain file name, got {quoted(config.name)}: it is --workdir that takes a path"
        )
    for player in ("generator_optimizer", "discriminator_optimizer"):
        rate = getattr(config, player).kwargs.get("learning_rate")
        if isinstance(rate, int | float) and rate < 0:
            raise UserError(f"{player}.learning_rate must not be negative, got {rate!r}")
    if not isinstance(config.ema.half_life, Call) and not config.ema.half_life > 0:
        raise UserError(f"ema.half_life must be above 0 images, got {config.ema.half_life!r}")
    if config.inputs is not None and config.latent not in (Config.latent, Call("normal")):
        raise UserError(
            f"inputs is set, so latent={config.latent.name} would not be used: leave latent at its default "
            "(latent=normal latent.size=100), or name it as inputs.latent of inputs=with_noise"
        )
    if config.seed >= 2**32:
        raise UserError(f"seed must be below 2**32, got {config.seed}")
    if config.batch % config.microbatches:
        raise UserError(f"microbatches must divide batch: {config.microbatches} does not divide {config.batch}")


def _check(node: object, kind: object, prefix: str) -> None:
    """Checks each field of a dataclass of the type `kind`, and of those below it."""
    hints = field_types(kind)
    for item in dataclasses.fields(node):  # type: ignore[arg-type]
        value, hint, path = getattr(node, item.name), hints[item.name], prefix + item.name
        least = item.metadata.get("least")
        if not _fits(value, hint):
            raise UserError(f"{path} wants {_describe(hint)}, got {quoted(value)}")
        if least is not None and isinstance(value, int | float) and value < least:
            raise UserError(f"{path} must be at least {least}, got {quoted(value)}")
        if type(value) is int and abs(value) >= LARGEST_INT:
            raise UserError(f"{path} must be below 2**63, got {quoted(value)}")
        if isinstance(value, Call):
            to_plain(value, path)  # refuses keywords that no file can hold
        elif dataclasses.is_dataclass(value):
            _check(value, hint, path + ".")
        elif isinstance(value, tuple):
            for index, one in enumerate(value):
                if dataclasses.is_dataclass(one):
                    _check(one, typing.get_args(hint)[0], f"{path}.{index}.")


def _fits(value: object, hint: object) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        return any(_fits(value, option) for option in args)
    if origin is Literal:
        return type(value) in map(type, args) and value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, args[0]) for item in value)
    if hint is float:
        return isinstance(value, float | int) and type(value) is not bool and abs(value) <= sys.float_info.max
    kind = types.NoneType if hint is None else origin or hint
    return isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _describe(hint: object) -> str:
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return f"a tuple of {getattr(item, '__name__', item)}"
    return describe(hint) or f"a {getattr(hint, '__name__', '')}"
