"""Starts a run from the weights of another run: `init_from`.

The weights that fit are taken; the optimizers, the augmentation and everything else start anew.
"""

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..checkpoint import Catalogue
from ..config import Config
from ..errors import UserError, one_line
from ..files.typed_json import check
from ..gan import GAN
from ..pytree import named_leaves, widened
from ..runtime.hosts import Hosts
from ..runtime.placement import Placement
from ..state import GANState, PlayerState
from .foreign_weights import Transfer, find_checkpoint, find_weights

RECORD = "init_from"  # in the record of every checkpoint of a run that began so


def read_transfer(
    config: Config, shapes: GANState, hosts: Hosts, began: Mapping[str, Any] | None = None
) -> Transfer | None:
    """Reads what `config.init_from` names; None if it names nothing. All processes call it; process 0 reads.

    Args:
        config: of the run.
        shapes: of the run's state.
        hosts: the processes of the run.
        began: the `record` of the transfer that the run began with, if it begins a second time.

    Raises:
        UserError: there is no intact checkpoint, no weights in it fit, or the run began with another one.
    """
    if not config.init_from:
        return None
    arrays: dict[str, np.ndarray] = {}

    def read() -> list:
        found = find_weights(config.init_from, config.init_weights, shapes)
        if began is not None and began["digest"] != found.record["digest"]:
            raise UserError(
                f"this run began with other weights than init_from={one_line(config.init_from)} has now, and it "
                "has no checkpoint of its own to return to: start it again in another --workdir"
            )
        arrays.update(found.arrays)
        return [found.record, found.lines, found.names]

    record, lines, names = hosts.from_first(read)
    return Transfer(record, lines, names, arrays)


def with_transfer(state: GANState, transfer: Transfer, gan: GAN, placement: Placement, hosts: Hosts) -> GANState:
    """Returns a new state with the weights that are taken. The optimizers and the average start from them.

    Args:
        state: at step 0, on the devices; it is donated.
        transfer: what is taken.
        gan: of the run.
        placement: the devices.
        hosts: the processes of the run.
    """
    targets = placement.shapes(state)
    named = named_leaves(targets)
    wanted = {name: named[name] for name in transfer.names}
    arrays: Mapping[str, Any] = transfer.arrays
    if hosts.count > 1:
        arrays = hosts.arrays_from_first(arrays, wanted)
    taken = placement.put_state({name: arrays[name] for name in wanted}, wanted)

    def start(state: GANState, taken: dict[str, jax.Array]) -> GANState:
        named = {**named_leaves(state), **taken}
        state = jax.tree.unflatten(jax.tree.structure(state), list(named.values()))
        return state.replace(
            generator=_with_new_optimizer(state.generator, gan.generator_tx),
            discriminator=_with_new_optimizer(state.discriminator, gan.discriminator_tx),
            ema=jax.tree.map(jnp.copy, widened(state.generator.variables)),
        )

    places = jax.tree.map(lambda shape: shape.sharding, targets)
    return jax.jit(start, donate_argnums=0, out_shardings=places)(state, taken)


def _with_new_optimizer(player: PlayerState, tx: optax.GradientTransformation) -> PlayerState:
    # Some optimizers keep parameters in their state, so it is made from those that were taken.
    return player.replace(opt_state=jax.tree.map(jnp.copy, tx.init(widened(player.params))))


def check_origin(record: Mapping[str, Any], config: Config) -> None:
    """Checks that a run began with what `config.init_from` names now.

    The place where the run found the checkpoint is not read again: the run's own checkpoints hold everything. At
    another place there must be the same checkpoint.

    Args:
        record: of the checkpoint that the run goes on from.
        config: of the run now.

    Raises:
        UserError: it began in another way.
    """
    then, now = record.get(RECORD), config.init_from
    if then is None:
        if now:
            raise UserError(
                f"this workdir holds another run: it did not begin with the weights of {one_line(now)}; "
                "use another --workdir, or leave init_from out"
            )
        return
    try:
        check(then, dict[str, str | int], RECORD)
        path, step, digest = str(then["path"]), int(then["step"]), str(then["digest"])
    except (ValueError, KeyError):
        raise UserError(f"gan-jax train did not write this checkpoint: its record has no valid {RECORD}") from None
    if now and os.path.abspath(now) == path:
        return
    began = f"it began with the weights of step {step} of {one_line(path)}"
    if not now:
        raise UserError(
            f"this workdir holds another run: {began}; set init_from={one_line(path)}, or use another --workdir"
        )
    catalogue, chosen = find_checkpoint(now)
    steps = [step] if chosen is None else [chosen]
    if digest not in [_digest(catalogue, one) for one in steps]:
        raise UserError(
            f"this workdir holds another run: {began}, whose digest is {one_line(digest)}, and "
            f"init_from={one_line(now)} has no such checkpoint; use another --workdir, or set it back (the place "
            "need not exist)"
        )


def _digest(catalogue: Catalogue, step: int) -> str | None:
    try:
        return catalogue.manifest(step)["digest"]
    except UserError:
        return None
