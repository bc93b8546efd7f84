"""Checkpoints that are whole or are not there. The only module that imports Orbax.

A checkpoint is a directory `<step>/` that holds what Orbax wrote, `state/`, and `manifest.json`, written last:
the digests of every leaf and of every file, and the caller's record. Without a manifest there is no checkpoint, so
a process killed at any instant leaves a whole one or none. Orbax restores a flipped bit without a word; here every
file is compared with the manifest before it is read, and every leaf after.

What is saved is the plain arrays by their paths, so a checkpoint depends on no class of this package, on no device
and on no sharding. The type, shape and bits of a leaf come back exactly; JAX's mark of a weak type does not.
"""

import contextlib
import errno
import json
import logging
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from .digest import describe, host_array, is_key, leaf_digests, named_leaves, parse_description
from .errors import NonFiniteError, UserError
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
from .types import PyTree

# Orbax logs through absl's one logger; only what comes from Orbax's own files is dropped, and errors are kept.
logging.getLogger("absl").addFilter(
    lambda entry: entry.levelno >= logging.ERROR or f"{os.sep}orbax{os.sep}" not in entry.pathname
)


class Restored(NamedTuple):
    """What `Checkpoints.restore` gives: the state, the caller's record, and the newer steps it could not use."""

    step: int
    state: PyTree
    record: dict[str, Any]
    passed_over: list[tuple[int, str]]


class Checkpoints:
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
        self.directory = Path(directory).absolute()
        self.keep, self._best, self._grid = keep, best, grid
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._in_flight: Future[None] | None = None
        self._room = 0  # bytes that the disk once had for a checkpoint
        self._good: set[int] = set()  # written or verified by this object, so pruning reads no file twice

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

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending. Nothing is verified."""
        return [step for step in self._numbered() if (self._home(step) / MANIFEST).is_file()]

    def manifest(self, step: int) -> dict[str, Any]:
        """The manifest of one step; `gan_jax.manifest.make_manifest` says what is in it.

        Raises:
            UserError: there is none, or it is damaged.
        """
        self._require(step)
        try:
            return read_manifest(self._home(step))
        except Damaged as error:
            raise self._unusable(step, error) from None

    def best(self, among: Iterable[int] | None = None) -> int | None:
        """The step with the best number, by the `best` this was made with; None where no record has one.

        Numbers are compared with those of the newest `["protocol"]` alone: others were measured otherwise. The
        newest of equals; a number that is not finite is none.
        """
        if self._best is None:
            return None
        (name, more), found = self._best, []
        for step in self.steps() if among is None else among:
            with contextlib.suppress(Damaged, OSError):
                record = read_manifest(self._home(step))["record"]
                value = record.get("metrics", {}).get(name)
                if isinstance(value, int | float) and math.isfinite(value):
                    found.append((step, value if more else -value, record.get("protocol")))
        if not found:
            return None
        newest = max(found)[2]
        return max((value, step) for step, value, protocol in found if protocol == newest)[1]

    def verify(self, step: int) -> str | None:
        """None if every file of the checkpoint is as it was written, else a phrase that says what is wrong."""
        try:
            verify_files(self._home(step), step)
        except Damaged as error:
            return str(error)
        self._good.add(step)
        return None

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
            self._require(step)
            try:
                return self._read(step, target, [])
            except Damaged as error:
                raise self._unusable(step, error) from None
        if not self.steps():
            return None
        passed_over: list[tuple[int, str]] = []
        for candidate in reversed(self._numbered()):
            try:
                if grid and not read_manifest(self._home(candidate))["record"].get("grid"):
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
        for later in self._numbered():
            if later > step and not foreign(self._home(later)):
                self._good.discard(later)
                remove(self._home(later))

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

    def _on_grid(self, steps: Iterable[int]) -> list[int]:
        found = []
        for step in steps:
            with contextlib.suppress(Damaged):
                if read_manifest(self._home(step))["record"].get("grid"):
                    found.append(step)
        return found

    def _home(self, step: int) -> Path:
        return self.directory / str(step)

    def _numbered(self) -> list[int]:
        """Every directory with the name of a step, finished or not."""
        if not self.directory.is_dir():
            return []
        names = [entry.name for entry in self.directory.iterdir() if entry.is_dir() and not entry.is_symlink()]
        return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)

    def _require(self, step: int) -> None:
        if step not in (steps := self.steps()):
            there = f"the steps there are {', '.join(map(str, steps))}" if steps else "there is none at all"
            raise UserError(f"there is no checkpoint of step {step} in {self.directory}: {there}")

    def _unusable(self, step: int, error: Damaged) -> UserError:
        others = ", ".join(str(other) for other in self.steps() if other != step) or "none"
        return UserError(
            f"the checkpoint of step {step} in {self.directory} cannot be used: {error} (other steps: {others})"
        )

    def _read(self, step: int, target: PyTree, passed_over: list[tuple[int, str]]) -> Restored:
        manifest = verify_files(self._home(step), step)
        wanted = named_leaves(target)
        self._check_structure(manifest, wanted)
        leaves = _read_leaves(self._home(step) / manifest["state"], manifest)
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
            raise UserError(f"saving step {step} in {self.directory} failed: {_first_line(error)}") from error

    def _put(self, step: int, snapshot: dict[str, Any], manifest: dict[str, Any]) -> None:
        home = self._home(step)
        if self._make_room(home, manifest):
            self._good.discard(step)
            try:
                home.mkdir(parents=True, exist_ok=True)
                self._check_space(step, home, snapshot)
                _write_leaves(home / manifest["state"], snapshot)
                manifest["files"] = settle_files(home, manifest["state"])
                write_manifest(home, manifest)
                sync_directory(self.directory)
            finally:
                if not (home / MANIFEST).exists():
                    shutil.rmtree(home, ignore_errors=True)  # a full disk would stay full
            tidy(home, manifest["state"])
        self._good.add(step)

    def _check_space(self, step: int, home: Path, snapshot: dict[str, Any]) -> None:
        """Beforehand, because Orbax meets a full disk with pages of tracebacks from threads it left behind.

        No number of free bytes tells of a quota. So the room is taken, and given back; once, since some file
        systems write all of it for that.
        """
        needed, free = sum(leaf.nbytes for leaf in snapshot.values()), shutil.disk_usage(self.directory).free
        says = None
        if free < needed + 2**20:
            says = f"has {free / 1e6:.0f} MB left"
        elif needed > self._room:
            says = _refuses(home / "state.room", needed)
            self._room = needed
        if says:
            raise UserError(
                f"the checkpoint of step {step} needs {needed / 1e6:.0f} MB and {self.directory} {says}: make "
                "room, then start the same command again"
            )

    def _make_room(self, home: Path, manifest: dict[str, Any]) -> bool:
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
        stay = {self.best(good), *(self._on_grid(good)[-1:] if self._grid else ())}
        for step in self._numbered():
            if step in stay:
                continue
            if ((step < saved and step not in steps) or step < oldest) and not foreign(self._home(step)):
                remove(self._home(step))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _refuses(path: Path, size: int) -> str | None:
    """Why a file of so many bytes can't be there, in words; None where it can, or the system doesn't tell."""
    if not hasattr(os, "posix_fallocate"):
        return None
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
    except OSError as error:
        known = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return f"doesn't take them ({error.strerror})" if known else None
    finally:
        path.unlink(missing_ok=True)
    return None


def _copy(leaf: Any) -> Any:
    return jnp.copy(leaf) if isinstance(leaf, jax.Array) else np.array(leaf)


def _is_finite(leaf: Any) -> bool:
    if is_key(leaf) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return True
    return bool(np.isfinite(host_array(leaf)).all())


def _alone() -> ocp.options.MultiprocessingOptions:
    """Of several processes this one reads and writes, and the others don't meet it for that."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=index, active_processes={index})


def _write_leaves(path: Path, snapshot: dict[str, Any]) -> None:
    """Hands Orbax arrays in host memory, so no thread of it runs anything on a device."""
    arrays = {name: host_array(leaf) for name, leaf in snapshot.items()}
    # Orbax refuses arrays without elements, and they hold nothing to save.
    arrays = {name: array for name, array in arrays.items() if array.size}
    # Weights hardly compress: 10 percent smaller, and three times as long to write.
    alone = _alone()
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(arrays))


def _read_leaves(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    shapes = {name: parse_description(text) for name, text in manifest["shapes"].items()}
    stored = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in shapes if math.prod(shapes[name][1])}
    try:
        alone = _alone()
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            arrays = checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=stored))
        leaves: dict[str, Any] = {}
        for name, (kind, shape) in shapes.items():
            if implementation := manifest["keys"].get(name):
                leaves[name] = jax.random.wrap_key_data(arrays[name], impl=implementation)
            else:
                leaves[name] = arrays[name] if name in stored else np.zeros(shape, jnp.dtype(kind))
    except Exception as error:
        raise Damaged(f"Orbax cannot read it ({_first_line(error)})") from error
    return leaves


def _place(value: Any, target: Any) -> Any:
    """Onto the devices of `target`; where it is a NumPy array or a number, the value stays on the host."""
    if isinstance(target, jax.Array | jax.ShapeDtypeStruct):
        return jax.device_put(value, target.sharding)
    return value
