"""Reads and writes the arrays of a checkpoint with Orbax. This is the only module that imports it.

The import takes a second, so it stands inside the functions: a new run has nothing to restore.
"""

import functools
import logging
import math
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import first_line
from ..pytree import host_array, parse_description
from .manifest import Damaged


@functools.cache
def _orbax() -> ModuleType:
    import orbax.checkpoint

    # Orbax logs through absl's only logger. Entries from Orbax's own files are dropped, except for errors.
    logging.getLogger("absl").addFilter(
        lambda entry: entry.levelno >= logging.ERROR or f"{os.sep}orbax{os.sep}" not in entry.pathname
    )
    return orbax.checkpoint


def _this_process_alone() -> Any:
    """Options with which one process of several reads and writes, and does not wait for the others."""
    index = jax.process_index()
    return _orbax().options.MultiprocessingOptions(primary_host=index, active_processes={index})


def write_leaves(path: Path, snapshot: dict[str, Any]) -> None:
    """Writes the leaves of a state, by their paths, to the folder `path`.

    Orbax gets arrays in host memory, so none of its threads runs anything on a device.
    """
    ocp, alone = _orbax(), _this_process_alone()
    arrays = {name: host_array(leaf) for name, leaf in snapshot.items()}
    # Orbax refuses arrays without elements, and they hold nothing to save.
    arrays = {name: array for name, array in arrays.items() if array.size}
    # Compression makes weights 10 percent smaller, and takes three times as long to write.
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(arrays))


def read_leaves(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Reads the leaves that `manifest` lists from the folder `path`, as host arrays and typed keys.

    Raises:
        Damaged: Orbax cannot read them.
    """
    ocp, alone = _orbax(), _this_process_alone()
    shapes = {name: parse_description(text) for name, text in manifest["shapes"].items()}
    stored = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in shapes if math.prod(shapes[name][1])}
    try:
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
        raise Damaged(f"Orbax cannot read it ({first_line(error)})") from error
    return leaves
