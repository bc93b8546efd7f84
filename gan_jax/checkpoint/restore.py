"""Reads a checkpoint into a state, after it has checked the files, the structure and the values of the leaves."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from ..errors import UserError
from ..pytree import Leaf, describe_leaf, named_leaves
from ..types import PyTree
from .catalogue import Catalogue
from .digest import leaf_digests
from .manifest import Damaged, Manifest, Record, read_manifest, refuse_newer, verify_checkpoint
from .orbax_io import read_leaves


class Restored(NamedTuple):
    """A state that was read from a checkpoint.

    Attributes:
        step: the step of the checkpoint.
        state: has the structure and the shardings of the target.
        record: what the caller of `Checkpoints.save` gave.
        passed_over: the newer checkpoints that could not be used: the step, and a phrase that says why.
    """

    step: int
    state: PyTree
    record: Record
    passed_over: list[tuple[int, str]]


def restore_newest(catalogue: Catalogue, target: PyTree, *, grid: bool) -> Restored | None:
    """Restores the newest checkpoint that is not damaged; see `Checkpoints.restore`."""
    for step in catalogue.all_steps():
        refuse_newer(catalogue.step_directory(step))
    if not catalogue.steps():
        return None
    passed_over: list[tuple[int, str]] = []
    # With `grid`, an unfinished save is skipped without an error: the caller may then start from step 0.
    for step in reversed(catalogue.steps() if grid else catalogue.all_steps()):
        try:
            if grid and not read_manifest(catalogue.step_directory(step))["record"].get("grid"):
                continue
            return read_checkpoint(catalogue, step, target)._replace(passed_over=passed_over)
        except Damaged as error:
            passed_over.append((step, str(error)))
    if not passed_over:
        return None
    reasons = "; ".join(f"step {step}: {reason}" for step, reason in passed_over)
    raise UserError(
        f"no checkpoint in {catalogue.directory} can be used ({reasons}): "
        "restore the files from a backup, or move the directory away to start again from step 0"
    )


def read_checkpoint(catalogue: Catalogue, step: int, target: PyTree) -> Restored:
    """Reads one checkpoint into the structure and the shardings of `target`.

    Raises:
        Damaged: something is not as it was written.
        UserError: the structure, a shape or a type differs from `target`.
    """
    manifest = verify_checkpoint(catalogue.step_directory(step), step)
    targets = named_leaves(target)
    _check_structure(catalogue, manifest, targets)
    leaves = _read_verified(catalogue, manifest)
    placed = [_place(leaves[name], leaf) for name, leaf in targets.items()]
    catalogue.verified.add(step)
    return Restored(step, jax.tree.unflatten(jax.tree.structure(target), placed), manifest["record"], [])


def read_arrays(catalogue: Catalogue, step: int) -> tuple[Manifest, dict[str, Leaf]]:
    """Reads all leaves of a checkpoint by their paths, whatever its structure: host arrays and typed keys.

    Raises:
        Damaged: something is not as it was written.
    """
    manifest = verify_checkpoint(catalogue.step_directory(step), step)
    return manifest, _read_verified(catalogue, manifest)


def _read_verified(catalogue: Catalogue, manifest: Manifest) -> dict[str, Leaf]:
    """Reads the leaves that a manifest lists, and compares each with its digest."""
    leaves = read_leaves(catalogue.step_directory(manifest["step"]) / manifest["state"], manifest)
    digests = leaf_digests(leaves)
    for name, digest in manifest["leaves"].items():
        if digests[name] != digest:
            raise Damaged(f"the values of {name} are not those that were saved")
    return leaves


def _check_structure(catalogue: Catalogue, manifest: Manifest, targets: Mapping[str, Leaf]) -> None:
    saved = manifest["shapes"]
    wanted = {name: describe_leaf(leaf) for name, leaf in targets.items()}
    for name in [*wanted, *saved]:
        if wanted.get(name) != saved.get(name):
            raise UserError(
                f"the checkpoint of step {manifest['step']} in {catalogue.directory} has another configuration: "
                f"{name} is {saved.get(name, 'absent')} in the checkpoint and {wanted.get(name, 'absent')} in "
                "this run; use the configuration it was written with, or another directory"
            )


def _place(value: np.ndarray | jax.Array, target: Leaf) -> np.ndarray | jax.Array:
    """Puts the value on the devices of `target`, or leaves it on the host if `target` is there."""
    if isinstance(target, jax.Array | jax.ShapeDtypeStruct):
        return jax.device_put(value, target.sharding)
    return value
