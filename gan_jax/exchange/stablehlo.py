"""One network of a run as a program in StableHLO, which JAX alone loads: `jax.export`.

The program has the weights in it. Operations of ours are lowered for each platform in the formulation that is fast
there (`ops.backend`), and the program chooses among them when it is compiled. The file is what
`jax.export.Exported.serialize` gives; a JSON file of the same name says what its inputs are.

JAX promises to run it where JAX and jaxlib were released up to 6 months after those that wrote it, or up to 3
weeks before (https://docs.jax.dev/en/latest/export/export.html#compatibility-guarantees).
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from ..errors import UserError, first_line, one_line
from ..files.folder import write_atomically
from ..pytree import named_leaves
from ..train.open_run import OpenedRun
from ..types import PyTree
from .exported import REFUSALS, Network, metadata_json

PLATFORMS = ("cpu", "cuda", "tpu")


def write(run: OpenedRun, network: Network, path: Path, batch: int | None = None) -> list[str]:
    """Writes a network as a program, and a JSON file beside it; returns lines that say how it is called.

    Args:
        run: the run.
        network: one of its networks.
        path: the file of the program.
        batch: the batch size; None: any.

    Raises:
        UserError: the network has operations that are not exported, or that need a fixed batch size.
    """
    program, drawn = make_program(network, batch)
    inputs, shape = inputs_of(network, drawn, batch), [batch or "batch", *program.out_avals[0].shape[1:]]
    version = program.calling_convention_version
    about = {
        **metadata_json(run), "network": network.name, "inputs": inputs, "platforms": list(PLATFORMS),
        "output": {"name": network.output, "dtype": program.out_avals[0].dtype.name, "shape": shape},
        "batch": batch or "any", "jax": jax.__version__, "calling_convention": version,
    }  # fmt: skip
    write_atomically(path, bytes(program.serialize()))
    beside = path.with_suffix(".json")
    write_atomically(beside, (json.dumps(about, indent=1) + "\n").encode())
    called = ", ".join(f"{one['name']} {one['dtype']}{shape_text(one['shape'])}" for one in inputs)
    return [
        f"{path}: the {network.name} at step {run.step}, for {', '.join(PLATFORMS)}; {beside.name} describes it",
        f"call({called}) -> {network.output} {shape_text(shape)}",
        f"JAX {jax.__version__} wrote it, with calling convention {version}: it runs with a JAX that was released "
        "up to 6 months later, or up to 3 weeks earlier, and may be refused after that",
    ]


def make_program(network: Network, batch: int | None = None) -> tuple[export.Exported, bool]:
    """Returns a network as a program, and whether it gets a noise seed.

    Its arguments are the inputs, then labels `[B]` and the seed `[]`, uint32, where it has them.

    Raises:
        UserError: see `write`.
    """
    size = export.symbolic_shape("batch")[0] if batch is None else batch
    inputs = jax.tree.map(lambda one: jax.ShapeDtypeStruct((size, *one.shape), one.dtype), network.inputs)
    labels = jax.ShapeDtypeStruct((size,), jnp.int32)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    arguments = [inputs, labels] if network.labels else [inputs]

    def call(inputs: PyTree, *more: jax.Array) -> jax.Array:
        labels = more[0] if network.labels else None
        return network.function(inputs, labels, more[-1] if drawn else jnp.uint32(0))

    try:
        drawn = draws(network, inputs, labels)
        with _without_places():
            program = export.export(jax.jit(call), platforms=PLATFORMS)(*arguments, *([seed] if drawn else []))
    except REFUSALS as error:
        fixed = "" if batch is not None else " for any batch size: try a fixed one, such as --batch 16"
        raise UserError(f"the {network.name} can't be exported ({one_line(first_line(error))}){fixed}") from error
    return program, drawn


@contextlib.contextmanager
def _without_places() -> Iterator[None]:
    """Leaves the places in the sources out of a program, which would name the folders of its author."""
    name = "jax_traceback_in_locations_limit"
    before = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def draws(network: Network, inputs: PyTree, labels: jax.ShapeDtypeStruct) -> bool:
    """Returns whether a network draws random numbers: whether its output needs the seed."""
    given = labels if network.labels else None
    closed = jax.make_jaxpr(network.function)(inputs, given, jax.ShapeDtypeStruct((), jnp.uint32))
    needed = set(closed.jaxpr.outvars)
    for equation in reversed(closed.jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(atom for atom in equation.invars if not hasattr(atom, "val"))
    return closed.jaxpr.invars[-1] in needed


def inputs_of(network: Network, drawn: bool, batch: int | None) -> list[dict[str, Any]]:
    """Returns name, type and shape of each input of a network; the first axis of all but the seed is the batch."""
    first = batch or "batch"
    leaves = named_leaves(network.inputs)
    names = [network.input if path == "value" else f"{network.input}/{path}" for path in leaves]
    found: list[dict[str, Any]] = [
        {"name": name, "dtype": np.dtype(leaf.dtype).name, "shape": [first, *leaf.shape]}
        for name, leaf in zip(names, leaves.values())
    ]
    if network.labels:
        found.append({"name": "labels", "dtype": "int32", "shape": [first]})
    return [*found, {"name": "noise_seed", "dtype": "uint32", "shape": []}] if drawn else found


def shape_text(shape: list) -> str:
    """Returns a shape as text, such as `[batch, 64]`."""
    return f"[{', '.join(map(str, shape))}]"
