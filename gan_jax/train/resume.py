"""Taking up a run: its checkpoint, wherever the run takes place now, and whether it is the same run."""

from collections.abc import Mapping
from typing import Any

import jax

from .. import config as configs
from ..config import Config
from ..errors import UserError
from ..pytree import named_leaves
from ..runtime.hosts import Hosts
from ..runtime.placement import Placement
from .carry import Carry
from .recorder import Keeper


def restore(
    keeper: Keeper, hosts: Hosts, placement: Placement, shapes: Carry, grid: bool
) -> tuple[int, Carry, dict[str, Any]] | None:
    """The newest good checkpoint, or the newest on the grid: its step, the carry and the record.

    Of several processes the first reads and verifies it, and tells the others. None where there is none.
    """
    shapes = placement.shapes(shapes)
    if hosts.count == 1:
        restored = keeper.restore(shapes, grid)
        return None if restored is None else (restored.step, restored.state, restored.record)
    leaves: dict[str, Any] = {}

    def read() -> list[Any] | None:
        restored = keeper.restore(placement.on_host(shapes), grid)
        if restored is None:
            return None
        leaves.update(named_leaves(restored.state))
        return [restored.step, restored.record]

    found = hosts.from_first(read)
    if found is None:
        return None
    heard = hosts.arrays_from_first(leaves, named_leaves(shapes))
    state = jax.tree.unflatten(jax.tree.structure(shapes), list(heard.values()))
    return found[0], placement.put_state(state, shapes), found[1]


def check_record(record: Mapping[str, Any], config: Config, fingerprint: str) -> None:
    """Raises UserError where a checkpoint's run began with another config, or with other data."""
    check_fields(record)
    configs.check_resume(configs.from_json(record["config"]), config)
    if record["data"] != fingerprint:
        raise UserError(
            f"the data set is not the one this run began with (it was {record['data']}, it is {fingerprint}): "
            "restore it, or use another --workdir"
        )


def check_fields(record: Mapping[str, Any]) -> None:
    """Raises UserError where a checkpoint's record is not one that a run leaves."""
    wanted = {"config": dict, "sample": dict, "data": str, "environment": dict}
    if missing := [name for name, kind in wanted.items() if not isinstance(record.get(name), kind)]:
        raise UserError(f"this checkpoint is of no run of gan-jax train: its record has no {missing[0]}")
    if type(record.get("returned", 0)) is not int:
        raise UserError("this checkpoint is of no run of gan-jax train: its record counts returns in no number")
    sample = record["sample"]
    shape, classes = sample.get("shape"), sample.get("classes")
    whole = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
    if not whole or sample.get("dtype") not in ("uint8", "float32") or not isinstance(classes, int | None):
        raise UserError("this checkpoint is of no run of gan-jax train: its record says nothing of its samples")


def elsewhere(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """A line for a run that is resumed on other devices than those its checkpoint was made on."""
    known = [name for name in now if name in then]  # an older checkpoint says less
    changed = [f"{name} {then[name]} -> {now[name]}" for name in known if then[name] != now[name]]
    if not changed:
        return None
    return f"resumed elsewhere ({', '.join(changed)}): results agree to rounding, not bit for bit"
