"""Saves, prunes and restores the checkpoints of a run, each of which is complete or does not exist.

A checkpoint is a directory `<step>/`. It has the directory `state/`, which Orbax writes, and `manifest.json` with
the digests of all leaves and files and the caller's record. The manifest is written last, and a directory without
it is no checkpoint, so a process that is killed at any time leaves a complete checkpoint or none. Orbax does not
detect flipped bits, so every file is compared with the manifest before it is read, and every leaf afterwards.

The leaves are saved as plain arrays by their paths, so a checkpoint does not depend on classes of this package, on
devices or on shardings. Restoring gives the same types, shapes and bits, but does not restore JAX's weak types.
"""

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import NonFiniteError, UserError, first_line
from ..pytree import Leaf, host_array, is_key, named_leaves
from ..types import PyTree
from .catalogue import ARCHIVED, Catalogue
from .disk_space import missing_room
from .leftovers import find_foreign, remove_checkpoint, remove_leftovers
from .manifest import (
    MANIFEST,
    Damaged,
    Manifest,
    Record,
    make_manifest,
    read_manifest,
    sync_directory,
    sync_files,
    write_manifest,
)
from .orbax_io import write_leaves
from .restore import Restored, read_checkpoint, restore_newest


class Checkpoints(Catalogue):
    """The checkpoints of one run in one directory, for one writer. Each save runs in a background thread.

    Args:
        directory: the first save makes it.
        keep: the number of newest undamaged checkpoints that are kept.
        best: `(name, maximize)`; the best checkpoint by this metric is also kept (see `Catalogue`).
        grid: also keep the newest checkpoint whose record has a true `["grid"]`.

    A checkpoint whose record has a true `["archived"]` is never removed by `keep`.

    Use it as a context manager, or call `close`. A process that exits otherwise may lose the unfinished save, but
    no other checkpoint.
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
        self._unfinished: Future[None] | None = None
        self._reserved = 0  # bytes that could once be reserved on the disk

    def save(self, step: int, state: PyTree, record: Mapping[str, object]) -> None:
        """Waits for the previous save, starts a copy of `state` on its devices, and saves it in the background.

        The caller may donate or delete `state` as soon as this returns. `record` must be JSON. When the checkpoint
        is on disk, older ones are pruned. If `step` already has another undamaged checkpoint, that one stays until
        the new one replaces it.

        Raises:
            NonFiniteError: a leaf of the *previous* save was not finite; only that save was discarded.
            UserError: the previous save could not be written.
        """
        self.wait()
        # The copies are dispatched from the caller's thread, without collectives: on virtual CPU devices, programs
        # from a second thread could be interleaved with the collectives of a training step and hang.
        snapshot = {name: _copy(leaf) for name, leaf in named_leaves(state).items()}
        record_copy = json.loads(json.dumps(dict(record)))
        self._unfinished = self._thread.submit(self._write, int(step), snapshot, record_copy)

    def wait(self) -> None:
        """Waits until the unfinished save is on disk, and raises its error (see `save`)."""
        if self._unfinished is not None:
            unfinished, self._unfinished = self._unfinished, None
            unfinished.result()

    def restore(self, target: PyTree, step: int | None = None, *, grid: bool = False) -> Restored | None:
        """Reads a checkpoint into the structure and the shardings of `target`.

        Args:
            target: the state as `jax.ShapeDtypeStruct`s with shardings, or as arrays. Its shardings and devices
                may differ from those of the saved state.
            step: None restores the newest undamaged checkpoint. Damaged ones are passed over; their files stay.
            grid: if `step` is None, consider only checkpoints whose record has a true `["grid"]`.

        Returns:
            None if `step` is None and there is no such checkpoint.

        Raises:
            UserError: the structure, a shape or a type differs from `target`, all checkpoints are damaged, or that
                of `step` is damaged or absent.
        """
        self.wait()
        if step is None:
            return restore_newest(self, target, grid=grid)
        self.require(step)
        try:
            return read_checkpoint(self, step, target)
        except Damaged as error:
            raise self.unusable(step, error) from None

    def forget(self, step: int) -> None:
        """Removes the checkpoints after `step`, from where the run will continue differently."""
        self.wait()
        for later in self.all_steps():
            if later > step and not find_foreign(self.step_directory(later)):
                self.verified.discard(later)
                remove_checkpoint(self.step_directory(later))

    def close(self) -> None:
        """Waits for the unfinished save, raises its error, and stops the thread."""
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
            # The first error is the more important one.
            error.add_note(f"The last checkpoint could not be saved either: {failure}")

    def _write(self, step: int, snapshot: dict[str, Leaf], record: Record) -> None:
        """Writes the snapshot and prunes older checkpoints, in the background thread."""
        if bad := [name for name, leaf in snapshot.items() if not _is_finite(leaf)]:
            which = f"{bad[0]} is" if len(bad) == 1 else f"{bad[0]} and {len(bad) - 1} more of its leaves are"
            last = f"the last checkpoint is step {self.steps()[-1]}" if self.steps() else "there is no checkpoint"
            raise NonFiniteError(f"the state of step {step} was not saved, because {which} not finite; {last}")
        try:
            self._write_checkpoint(step, snapshot, make_manifest(step, snapshot, record))
            self._prune(step)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"saving step {step} in {self.directory} failed: {first_line(error)}") from error

    def _write_checkpoint(self, step: int, snapshot: dict[str, Leaf], manifest: Manifest) -> None:
        directory = self.step_directory(step)
        if self._prepare(directory, manifest):
            self.verified.discard(step)
            try:
                directory.mkdir(parents=True, exist_ok=True)
                self._check_disk_space(step, directory, snapshot)
                write_leaves(directory / manifest["state"], snapshot)
                manifest["files"] = sync_files(directory, manifest["state"])
                write_manifest(directory, manifest)
                sync_directory(self.directory)
            finally:
                if not (directory / MANIFEST).exists():
                    shutil.rmtree(directory, ignore_errors=True)  # a full disk would stay full
            remove_leftovers(directory, manifest["state"])
        self.verified.add(step)

    def _check_disk_space(self, step: int, directory: Path, snapshot: dict[str, Leaf]) -> None:
        """Checks before the write, because on a full disk Orbax's threads print pages of tracebacks."""
        needed = sum(leaf.nbytes for leaf in snapshot.values())
        if problem := missing_room(directory, needed, reserve=needed > self._reserved):
            raise UserError(
                f"the checkpoint of step {step} needs {needed / 1e6:.0f} MB, but {self.directory} {problem}: "
                "free disk space, then run the same command again"
            )
        self._reserved = max(self._reserved, needed)

    def _prepare(self, directory: Path, manifest: Manifest) -> bool:
        """Prepares `directory` for a new checkpoint; returns False if it already has this state, undamaged."""
        if self.verify(manifest["step"]) is not None:
            if foreign := find_foreign(directory):
                raise UserError(
                    f"{directory} holds {foreign}, which is not part of a checkpoint: move it elsewhere"
                )
            remove_checkpoint(directory)  # Orbax does not overwrite the files of an unfinished save
            return True
        old = read_manifest(directory)
        remove_leftovers(directory, old["state"])
        if old["digest"] == manifest["digest"]:
            if old["record"] != manifest["record"]:
                write_manifest(directory, {**old, "record": manifest["record"], "written": manifest["written"]})
            return False
        # The old files stay until one rename has replaced the old manifest.
        manifest["state"] = "state.b" if old["state"] == "state" else "state"
        return True

    def _prune(self, saved: int) -> None:
        """Removes checkpoints older than the newest `keep` undamaged ones, and older saves that were not finished.

        The checkpoint that was just saved always stays, also if a run was resumed from an older step and newer
        checkpoints still exist.
        """
        steps = self.steps()
        archived = set(self.marked(ARCHIVED, steps))
        # Archived ones may be many, and stay in any case: of these only the newest are read again.
        newest = steps[-self.keep :]
        wanted = [step for step in steps if step not in archived or step in newest]
        good = [step for step in wanted if step in self.verified or self.verify(step) is None]
        oldest = min(saved, *good[-self.keep :])
        protected = {self.best([*good, *archived]), *(self.on_grid(good)[-1:] if self._grid else ()), *archived}
        for step in self.all_steps():
            removable = step < oldest or (step < saved and step not in steps)
            if removable and step not in protected and not find_foreign(self.step_directory(step)):
                remove_checkpoint(self.step_directory(step))


def _copy(leaf: Leaf) -> jax.Array | np.ndarray:
    return jnp.copy(leaf) if isinstance(leaf, jax.Array) else np.array(leaf)


def _is_finite(leaf: jax.Array | np.ndarray) -> bool:
    if is_key(leaf) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return True
    return bool(np.isfinite(host_array(leaf)).all())
