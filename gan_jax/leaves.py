"""The arrays of a checkpoint, by their paths, on a disk. The only module that imports Orbax."""

import logging
import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from .digest import host_array, parse_description
from .errors import first_line
from .manifest import Damaged

# Orbax logs through absl's one logger; only what comes from Orbax's own files is dropped, and errors are kept.
logging.getLogger("absl").addFilter(
    lambda entry: entry.levelno >= logging.ERROR or f"{os.sep}orbax{os.sep}" not in entry.pathname
)


def _alone() -> ocp.options.MultiprocessingOptions:
    """Of several processes this one reads and writes, and the others don't meet it for that."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=index, active_processes={index})


def write_leaves(path: Path, snapshot: dict[str, Any]) -> None:
    """Hands Orbax arrays in host memory, so no thread of it runs anything on a device."""
    arrays = {name: host_array(leaf) for name, leaf in snapshot.items()}
    # Orbax refuses arrays without elements, and they hold nothing to save.
    arrays = {name: array for name, array in arrays.items() if array.size}
    # Weights hardly compress: 10 percent smaller, and three times as long to write.
    alone = _alone()
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(arrays))


def read_leaves(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
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
        raise Damaged(f"Orbax cannot read it ({first_line(error)})") from error
    return leaves
