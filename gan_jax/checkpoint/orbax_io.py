"""Reads and writes the arrays of a checkpoint with Orbax. No other module imports Orbax.

The import takes a second, so it is done when a function is first called.
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
from ..pytree import Leaf, host_array, parse_description
from .manifest import Damaged, Manifest


@functools.cache
def _orbax() -> ModuleType:
    import orbax.checkpoint

    # Orbax logs to the logger of absl, which others use too: drop the entries from Orbax's files, except errors.
    logging.getLogger("absl").addFilter(
        lambda entry: entry.levelno >= logging.ERROR or f"{os.sep}orbax{os.sep}" not in entry.pathname
    )
    return orbax.checkpoint


def _this_process_alone() -> Any:
    """Returns Orbax options for one process of several to read and write without waiting for the others."""
    index = jax.process_index()
    return _orbax().options.MultiprocessingOptions(primary_host=index, active_processes={index})


def write_leaves(path: Path, snapshot: dict[str, Leaf]) -> None:
    """Writes the leaves of a state, given by their paths, to the directory `path`.

    Orbax gets arrays in host memory, so that its threads do not use the devices.
    """
    ocp, alone = _orbax(), _this_process_alone()
    arrays = {name: host_array(leaf) for name, leaf in snapshot.items()}
    # Orbax refuses arrays without elements; `read_leaves` makes them from their shapes.
    arrays = {name: array for name, array in arrays.items() if array.size}
    # Compression makes weights 10 percent smaller, but writing takes three times as long.
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(arrays))


def read_leaves(path: Path, manifest: Manifest) -> dict[str, Leaf]:
    """Reads the leaves that `manifest` lists from the directory `path`, as host arrays and typed keys.

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
        leaves: dict[str, Leaf] = {}
        for name, (kind, shape) in shapes.items():
            if implementation := manifest["keys"].get(name):
                leaves[name] = jax.random.wrap_key_data(arrays[name], impl=implementation)
            else:
                leaves[name] = arrays[name] if name in stored else np.zeros(shape, jnp.dtype(kind))
    except Exception as error:
        raise Damaged(f"Orbax cannot read it ({first_line(error)})") from error
    return leaves
