"""Writes networks that come from elsewhere into a new workdir: a run with one checkpoint, at step 0."""

import contextlib
import dataclasses
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import config as configs
from ..checkpoint import Checkpoints
from ..config import Config
from ..config.build import Allow, SampleSpec, batch_spec, make_gan
from ..errors import UserError, one_line
from ..gan import GAN, init
from ..ops import compiler_options
from ..pytree import is_key, named_leaves, widened
from ..state import GANState, PlayerState
from ..step.meter import Carry, reset
from ..train.resume import IMPORTED
from ..train.shapes import carry_shapes
from ..train.workdir import keep_config
from ..types import Key, PyTree


def write_workdir(
    workdir: Path,
    config: Config,
    spec: SampleSpec,
    generator: Mapping[str, np.ndarray],
    discriminator: Mapping[str, np.ndarray] | None,
    origin: str,
    *,
    data: str | None = None,
    rate: float | None = None,
    allow: Allow = (),
) -> Path:
    """Writes a workdir with these networks: `sample`, `evaluate` and `init_from` take it as a run of ours.

    The generator and its moving average are both what `generator` has. Optimizers, penalties and the augmentation
    are at their start. A discriminator that is not given is a new one, drawn from the config's seed.

    Args:
        workdir: a folder that is not there yet, or that is empty. It appears complete, in one rename.
        config: what the networks are built from. Its `init_from` is left out.
        spec: the shape and type of the samples, the number of classes and their names.
        generator, discriminator: the variables by their paths, `params/...`, `batch_stats/...`, as `named_leaves`
            gives them. They are cast to the types that the networks have; typed keys are given as their data.
        origin: the file that they came from, for messages and the record.
        data: the fingerprint of the data that they were trained on; None: unknown.
        rate: samples of audio, or frames of video, in a second.
        allow: packages, besides gan_jax, that functions named by the config may come from.

    Returns:
        The workdir.

    Raises:
        UserError: something is in the workdir; or an array is missing, unknown, of another shape or not finite.
    """
    config = dataclasses.replace(config, init_from="")
    gan = make_gan(config, spec, allow)
    shapes = carry_shapes(config, gan, spec)
    given = {"ema": fitted(generator, shapes.state.ema, f"the generator of {one_line(origin)}")}
    if discriminator is not None:
        whose = f"the discriminator of {one_line(origin)}"
        given["discriminator"] = fitted(discriminator, shapes.state.discriminator.variables, whose)
    carry = Carry(_make_state(config, gan, spec, given), reset(shapes.meter))
    record: dict[str, object] = {
        "config": configs.to_json(config),
        "sample": {**spec._asdict(), "dtype": np.dtype(spec.dtype).name},
        "data": data or f"unknown, imported from {one_line(os.path.basename(origin))}",
        "environment": {package: metadata.version(package) for package in ("gan_jax", "jax", "jaxlib")},
        IMPORTED: one_line(os.path.basename(origin)),
    }
    if rate is not None:
        record["rate"] = rate
    with _appearing(Path(os.path.abspath(workdir))) as folder:
        keep_config(folder, config)
        with Checkpoints(folder / "checkpoints") as checkpoints:
            checkpoints.save(0, carry, record)
    return Path(workdir)


def fitted(given: Mapping[str, np.ndarray], variables: PyTree, whose: str) -> PyTree:
    """Returns the arrays that are given, in the structure and the types of a network's variables.

    Args:
        given: by their paths; typed keys as their data.
        variables: the shapes.
        whose: the start of a message, such as "the generator of FILE".

    Raises:
        UserError: an array is missing, unknown, of another shape or type, or not finite.
    """
    wanted = named_leaves(variables)
    if unknown := sorted(given.keys() - wanted.keys()):
        raise UserError(f"{whose} has {one_line(unknown[0], 100)}, which its network does not have")
    arrays = []
    for name, leaf in wanted.items():
        if name not in given:
            raise UserError(f"{whose} lacks {name}, which its network has")
        array = np.asarray(given[name])
        if is_key(leaf):
            arrays.append(jax.random.wrap_key_data(jnp.asarray(array)))
            continue
        if array.shape != leaf.shape:
            raise UserError(f"{whose} has {name} of shape {array.shape}, but its network has {leaf.shape}")
        if not np.can_cast(array.dtype, leaf.dtype, "same_kind"):
            raise UserError(f"{whose} has {name} of type {array.dtype}, but its network has {leaf.dtype}")
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(array).all():
            raise UserError(f"{whose} has numbers in {name} that are not finite: export it again, or restore it")
        arrays.append(array.astype(leaf.dtype))
    return jax.tree.unflatten(jax.tree.structure(variables), arrays)


def _make_state(config: Config, gan: GAN, spec: SampleSpec, given: Mapping[str, PyTree]) -> GANState:
    """Returns the state at step 0 with the variables that are given."""
    batch = batch_spec(config, gan, spec)

    def start(key: Key, given: dict[str, PyTree]) -> GANState:
        state = init(gan, key, batch)  # what is replaced here is not computed
        state = state.replace(
            ema=given["ema"], generator=_with_variables(state.generator, gan.generator_tx, given["ema"])
        )
        if "discriminator" in given:
            player = _with_variables(state.discriminator, gan.discriminator_tx, given["discriminator"])
            state = state.replace(discriminator=player)
        return state

    return jax.jit(start, compiler_options=compiler_options(once=True))(jax.random.key(config.seed), dict(given))


def _with_variables(player: PlayerState, tx: optax.GradientTransformation, variables: PyTree) -> PlayerState:
    """Returns the player with these variables, in the types that it has, and a new optimizer."""
    typed = jax.tree.map(lambda x, own: x if is_key(x) else x.astype(own.dtype), variables, player.variables)
    params = typed.pop("params")
    return player.replace(params=params, model_state=typed, opt_state=tx.init(widened(params)))


@contextlib.contextmanager
def _appearing(workdir: Path) -> Iterator[Path]:
    """Yields a folder beside the workdir, which becomes the workdir at the end, or is removed on an error."""
    if os.path.lexists(workdir) and not (workdir.is_dir() and not any(workdir.iterdir())):
        raise UserError(f"there is something at {one_line(workdir)} already: choose another --out, or remove it")
    temporary = workdir.with_name(f"{workdir.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.rename(temporary, workdir)  # an empty folder there is replaced
    except OSError as error:
        raise UserError(f"can't write {one_line(workdir)} ({error.strerror}): choose another --out") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
