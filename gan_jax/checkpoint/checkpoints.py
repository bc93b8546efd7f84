"""Checkpoints that are whole or are not there.

A checkpoint is a directory `<step>/` that holds what Orbax wrote, `state/`, and `manifest.json`, written last:
the digests of every leaf and of every file, and the caller's record. Without a manifest there is no checkpoint, so
a process killed at any instant leaves a whole one or none. Orbax restores a flipped bit without a word; here every
file is compared with the manifest before it is read, and every leaf after.

What is saved is the plain arrays by their paths, so a checkpoint depends on no class of this package, on no device
and on no sharding. The type, shape and bits of a leaf come back exactly; JAX's mark of a weak type does not.
"""

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import NonFiniteError, UserError, first_line
from ..pytree import describe, host_array, is_key, named_leaves
from ..types import PyTree
from .catalogue import Catalogue
from .digest import leaf_digests
from .disk_space import lacks_room
from .manifest import (
    MANIFEST,
    Damaged,
    foreign,
    make_manifest,
    read_manifest,
    remove,
    settle_files,
    sync_directory,
    tidy,
    verify_files,
    write_manifest,
)
from .orbax_io import read_leaves, write_leaves


class Restored(NamedTuple):
    """What `Checkpoints.restore` gives: the state, the caller's record, and the newer steps it could not use."""

    step: int
    state: PyTree
    record: dict[str, Any]
    passed_over: list[tuple[int, str]]


class Checkpoints(Catalogue):
    """The checkpoints of one run, in one directory, for one writer.

    Args:
        directory: made by the first save.
        keep: how many good checkpoints stay, the newest.
        best: `(name, more)`: one more stays, whose record has the lowest `["metrics"][name]`; with `more` the
            highest.
        grid: the newest whose record has a true `["grid"]` stays too.

    Use it as a context manager, or call `close`: a process that exits otherwise may lose the save in flight (and
    only that).
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: int = 2,
        best: tuple[str, bool] | None = None,
        grid: bool = False,
    ):
        if keep < 1:
            raise UserError(f"keep={keep} would leave no checkpoint: set it to 1 or more")
        super().__init__(directory, best=best)
        self.keep, self._grid = keep, grid
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._in_flight: Future[None] | None = None
        self._room = 0  # bytes that the disk once had for a checkpoint

    def save(self, step: int, state: PyTree, record: Mapping[str, Any]) -> None:
        """Starts to save, and returns once a copy of `state` is under way on its devices.

        The caller may donate or delete `state` at once. The save before this one is waited for first.
        `record` is anything JSON can hold. Older checkpoints are pruned once this one stands on disk. A good
        checkpoint of the same step is replaced if it differs, and never missing while that happens.

        Raises:
            NonFiniteError: a leaf of the save *before* was not finite. That save was discarded; nothing else was.
            UserError: the save before could not be written.
        """
        self.wait()
        # Each copy is a program of its own without collectives, sent from the caller's thread: on several virtual
        # CPU devices a second thread that sent programs could interleave with a step's collectives and hang.
        snapshot = {name: _copy(leaf) for name, leaf in named_leaves(state).items()}
        kept_record = json.loads(json.dumps(dict(record)))
        self._in_flight = self._thread.submit(self._write, int(step), snapshot, kept_record)

    def wait(self) -> None:
        """Returns once the save in flight stands on disk, or raises its error (see `save`)."""
        if self._in_flight is not None:
            in_flight, self._in_flight = self._in_flight, None
            in_flight.result()

    def restore(self, target: PyTree, step: int | None = None, *, grid: bool = False) -> Restored | None:
        """Reads a checkpoint into the structure and the shardings of `target`.

        Args:
            target: the state as `jax.ShapeDtypeStruct`s with shardings, or as arrays. Shardings need not be those
                the state had when it was saved, nor the devices as many.
            step: None for the newest checkpoint that is as it was written; damaged ones are passed over, and stay.
            grid: with `step` None, only those whose record has a true `["grid"]`.

        Returns:
            None if `step` is None and there is no such checkpoint.

        Raises:
            UserError: the structure, a shape or a type differs from `target`; no checkpoint can be used; `step` is
                given and cannot be.
        """
        self.wait()
        if step is not None:
            self.require(step)
            try:
                return self._read(step, target, [])
            except Damaged as error:
                raise self.unusable(step, error) from None
        if not self.steps():
            return None
        passed_over: list[tuple[int, str]] = []
        # On the grid an unfinished save is no candidate: step 0 may be meant instead.
        for candidate in reversed(self.steps() if grid else self.numbered()):
            try:
                if grid and not read_manifest(self.home(candidate))["record"].get("grid"):
                    continue
                return self._read(candidate, target, passed_over)
            except Damaged as error:
                passed_over.append((candidate, str(error)))
        if not passed_over:
            return None
        reasons = "; ".join(f"step {candidate}: {reason}" for candidate, reason in passed_over)
        raise UserError(
            f"no checkpoint in {self.directory} can be used ({reasons}): "
            "bring the files back from a copy, or move the directory away to start anew"
        )

    def forget(self, step: int) -> None:
        """Removes the checkpoints after `step`, of a run that goes another way from there."""
        self.wait()
        for later in self.numbered():
            if later > step and not foreign(self.home(later)):
                self._good.discard(later)
                remove(self.home(later))

    def close(self) -> None:
        """Waits for the save in flight, raises its error, and ends the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"The last checkpoint failed as well: {failure}")  # the first error is the one to read

    def _read(self, step: int, target: PyTree, passed_over: list[tuple[int, str]]) -> Restored:
        manifest = verify_files(self.home(step), step)
        wanted = named_leaves(target)
        self._check_structure(manifest, wanted)
        leaves = read_leaves(self.home(step) / manifest["state"], manifest)
        digests = leaf_digests(leaves)
        for name, digest in manifest["leaves"].items():
            if digests[name] != digest:
                raise Damaged(f"the values of {name} are not those that were saved")
        placed = [_place(leaves[name], leaf) for name, leaf in wanted.items()]
        self._good.add(step)
        state = jax.tree.unflatten(jax.tree.structure(target), placed)
        return Restored(step, state, manifest["record"], passed_over)

    def _check_structure(self, manifest: dict[str, Any], wanted: dict[str, Any]) -> None:
        saved = manifest["shapes"]
        here = {name: describe(leaf) for name, leaf in wanted.items()}
        for name in [*here, *saved]:
            if here.get(name) != saved.get(name):
                raise UserError(
                    f"the checkpoint of step {manifest['step']} in {self.directory} is of another configuration: "
                    f"{name} is {saved.get(name, 'absent')} in the checkpoint and {here.get(name, 'absent')} in "
                    "this run; use the configuration it was written with, or another directory"
                )

    def _write(self, step: int, snapshot: dict[str, Any], record: dict[str, Any]) -> None:
        """Runs in the background: from the copy on the devices to the manifest, then prunes."""
        if bad := [name for name, leaf in snapshot.items() if not _is_finite(leaf)]:
            which = f"{bad[0]} is" if len(bad) == 1 else f"{bad[0]} and {len(bad) - 1} more of its leaves are"
            last = f"the last checkpoint is step {self.steps()[-1]}" if self.steps() else "there is none before it"
            raise NonFiniteError(f"the state of step {step} was not saved, because {which} not finite; {last}")
        try:
            self._put(step, snapshot, make_manifest(step, snapshot, record))
            self._prune(step)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"saving step {step} in {self.directory} failed: {first_line(error)}") from error

    def _put(self, step: int, snapshot: dict[str, Any], manifest: dict[str, Any]) -> None:
        home = self.home(step)
        if self._prepare(home, manifest):
            self._good.discard(step)
            try:
                home.mkdir(parents=True, exist_ok=True)
                self._check_room(step, home, snapshot)
                write_leaves(home / manifest["state"], snapshot)
                manifest["files"] = settle_files(home, manifest["state"])
                write_manifest(home, manifest)
                sync_directory(self.directory)
            finally:
                if not (home / MANIFEST).exists():
                    shutil.rmtree(home, ignore_errors=True)  # a full disk would stay full
            tidy(home, manifest["state"])
        self._good.add(step)

    def _check_room(self, step: int, home: Path, snapshot: dict[str, Any]) -> None:
        """Beforehand, because Orbax meets a full disk with pages of tracebacks from threads it left behind."""
        needed = sum(leaf.nbytes for leaf in snapshot.values())
        if lack := lacks_room(home, needed, take=needed > self._room):
            raise UserError(
                f"the checkpoint of step {step} needs {needed / 1e6:.0f} MB and {self.directory} {lack}: make "
                "room, then start the same command again"
            )
        self._room = max(self._room, needed)

    def _prepare(self, home: Path, manifest: dict[str, Any]) -> bool:
        """Prepares `home` for a new checkpoint; False if it already holds this state, whole."""
        step = manifest["step"]
        if self.verify(step) is not None:
            if stranger := foreign(home):
                raise UserError(f"{home} holds {stranger}, which is no part of a checkpoint: move it elsewhere")
            remove(home)  # Orbax writes nothing over what a killed save left
            return True
        old = read_manifest(home)
        tidy(home, old["state"])
        if old["digest"] == manifest["digest"]:
            if old["record"] != manifest["record"]:
                write_manifest(home, {**old, "record": manifest["record"], "written": manifest["written"]})
            return False
        # The old files stay until the new manifest has taken the old one's place in a single rename.
        manifest["state"] = "state.b" if old["state"] == "state" else "state"
        return True

    def _prune(self, saved: int) -> None:
        """Removes what is older than the newest `keep` good checkpoints, and saves never finished.

        A damaged checkpoint does not count as one of the `keep`, and the one just saved always stays, also where a
        run was taken up again from an older step and newer ones are still there.
        """
        steps = self.steps()
        good = [step for step in steps if step in self._good or self.verify(step) is None]
        oldest = min(saved, *good[-self.keep :])
        stay = {self.best(good), *(self.on_grid(good)[-1:] if self._grid else ())}
        for step in self.numbered():
            if step in stay:
                continue
            if ((step < saved and step not in steps) or step < oldest) and not foreign(self.home(step)):
                remove(self.home(step))


def _copy(leaf: Any) -> Any:
    return jnp.copy(leaf) if isinstance(leaf, jax.Array) else np.array(leaf)


def _is_finite(leaf: Any) -> bool:
    if is_key(leaf) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return True
    return bool(np.isfinite(host_array(leaf)).all())


def _place(value: Any, target: Any) -> Any:
    """Onto the devices of `target`; where it is a NumPy array or a number, the value stays on the host."""
    if isinstance(target, jax.Array | jax.ShapeDtypeStruct):
        return jax.device_put(value, target.sharding)
    return value
