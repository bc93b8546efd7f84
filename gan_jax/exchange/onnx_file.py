"""One network of a run as a program in ONNX, which is compared with ours when it is written.

The operations are converted here, and not by jax2onnx: its version 0.13 with JAX 0.10 converts, for any batch
size, one of our eight generators. Others fail at its symbols, and its transposed convolutions have other
shapes. A generator has some forty kinds of operations, and constants are folded on the way.
"""

import contextlib
import dataclasses
import importlib
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import ClosedJaxpr

from ..config.build import make_gan
from ..errors import UserError, first_line, one_line
from ..files.folder import write_atomically
from ..gan import make_inputs
from ..runtime.precision import traced_with
from ..step.draws import Purpose, sample_keys
from ..train.open_run import OpenedRun
from ..types import PyTree
from .exported import REFUSALS, Network, describe
from .onnx_graph import Graph, Tensor, constant
from .onnx_numbers import dtype_of
from .onnx_operations import convert
from .plain_program import Plain, flatten, make_noise
from .stablehlo import inputs_of, shape_text

OPSET = 18
TOLERANCE = 1e-4
_CHECKED = 100  # samples that are compared
_BLOCK = 25
_LARGEST = 2**31 - 1  # bytes of a file: a limit of the format


def in_float32(run: OpenedRun) -> OpenedRun:
    """Returns the run with networks that compute in float32: few runtimes compute in bfloat16."""
    if run.config.precision == "float32":
        return run
    config = dataclasses.replace(run.config, precision="float32")
    return run._replace(config=config, gan=make_gan(config, run.spec, run.allow))


def write(run: OpenedRun, network: Network, path: Path, batch: int | None = None) -> list[str]:
    """Writes a network in ONNX, and returns lines that say how it is called and how near it is to ours.

    Args:
        run: the run, see `in_float32`.
        network: one of its networks.
        path: the file.
        batch: the batch size; None: any.

    Raises:
        UserError: onnx or onnxruntime is not installed, an operation has no form in ONNX, or what ONNX computes
            differs from ours by more than `TOLERANCE`.
    """
    onnx, runtime = (_package(name) for name in ("onnx", "onnxruntime"))
    try:
        plain = flatten(network, export.symbolic_shape("batch")[0] if batch is None else batch)
        model = make_model(onnx, network, plain, describe(run))
    except REFUSALS as error:
        fixed = "" if batch is not None else "; a fixed batch size, such as --batch 16, may help"
        reason = one_line(first_line(error), 200)
        raise UserError(
            f"the {network.name} can't be written as ONNX ({reason}): use --format stablehlo{fixed}"
        ) from error
    content = model.SerializeToString()
    difference = largest_difference(_session(runtime, content), run, network, plain, batch)
    if not difference <= TOLERANCE:
        raise UserError(
            f"ONNX computes other {network.output} than ours: they differ by {difference:.1e}, more than "
            f"{TOLERANCE:.0e}, so no file is written: use --format stablehlo"
        )
    write_atomically(path, content)
    inputs = described_inputs(network, plain, batch)
    called = ", ".join(f"{one['name']} {one['dtype']}{shape_text(one['shape'])}" for one in inputs)
    shape = shape_text([batch or "batch", *plain.program.out_avals[0].shape[1:]])
    return [
        f"{path}: the {network.name} at step {run.step}, opset {OPSET}",
        f"({called}) -> {network.output} {shape}",
        f"checked with onnxruntime {runtime.__version__}: of {_CHECKED} samples, no number differs by more than "
        f"{difference:.1e}",
    ]


def _session(runtime: Any, content: bytes) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    with _as_user_error():
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _as_user_error() -> Iterator[None]:
    """Turns what onnxruntime raises, such as for a type that one of its operations lacks, into a UserError."""
    try:
        yield
    except Exception as error:  # it has a class for each kind of error, with no common one
        reason = one_line(first_line(error), 200)
        raise UserError(f"onnxruntime can't run the program ({reason}): use --format stablehlo") from error


def _package(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"--format onnx needs {name}: pip install 'gan_jax[export]'") from error


def described_inputs(network: Network, plain: Plain, batch: int | None) -> list[dict[str, Any]]:
    """Returns name, type and shape of each input: the inputs, the labels, and the normal noise."""
    noise = [
        {"name": f"noise_{i}", "dtype": np.dtype(one.dtype).name, "shape": [batch or "batch", *one.shape[1:]]}
        for i, one in enumerate(plain.noise)
    ]
    return [*inputs_of(network, False, batch), *noise]


def make_model(onnx: Any, network: Network, plain: Plain, metadata: dict[str, str]) -> Any:
    """Returns the `onnx.ModelProto` of a flat program.

    Raises:
        NotImplementedError: an operation has no form in ONNX.
    """
    inputs = described_inputs(network, plain, None)
    variables = plain.program.jaxpr.invars
    symbols = [size for size in variables[0].aval.shape[:1] if not isinstance(size, int)]
    graph = Graph(symbols[0] if symbols else None, inputs[0]["name"])
    out = graph.whole(_convert_all(graph, plain.program, [one["name"] for one in inputs]))
    graph.nodes.append(onnx.helper.make_node("Identity", [graph.name(out)], [network.output]))

    def info(name: str, variable: Any) -> Any:
        dtype = onnx.helper.np_dtype_to_tensor_dtype(dtype_of(variable.aval.dtype))
        sizes = [size if isinstance(size, int) else "batch" for size in variable.aval.shape]
        return onnx.helper.make_tensor_value_info(name, dtype, sizes)

    given = [info(one["name"], variable) for one, variable in zip(inputs, variables, strict=True)]
    result = [info(network.output, plain.program.jaxpr.outvars[0])]
    bytes_of = sum(len(one.raw_data) for one in graph.initializers)
    if bytes_of > _LARGEST:
        raise NotImplementedError(f"it has {bytes_of / 1e9:.1f} GB of weights, and a file of ONNX at most 2")
    proto = onnx.helper.make_graph(graph.nodes, network.name, given, result, graph.initializers)
    model = onnx.helper.make_model(
        proto, opset_imports=[onnx.helper.make_opsetid("", OPSET)], producer_name="gan_jax"
    )
    model.ir_version = 9  # of opset 18 to 20: newer runtimes read it too
    onnx.helper.set_model_props(model, {**metadata, "network": network.name, "inputs": json.dumps(inputs)})
    onnx.checker.check_model(model)
    return model


def _convert_all(graph: Graph, program: ClosedJaxpr, names: list[str]) -> Tensor:
    """Converts the operations that the output needs, and returns the output."""
    jaxpr = program.jaxpr
    known: dict[Any, Tensor] = {v: constant(x) for v, x in zip(jaxpr.constvars, program.consts, strict=True)}
    for variable, name in zip(jaxpr.invars, names, strict=True):
        shape = tuple(variable.aval.shape)
        known[variable] = Tensor(name, shape, shape, dtype_of(variable.aval.dtype))
    needed, kept = set(jaxpr.outvars), []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            kept.append(equation)
            needed.update(atom for atom in equation.invars if not hasattr(atom, "val"))
    for equation in reversed(kept):
        given = [_literal(atom) if hasattr(atom, "val") else known[atom] for atom in equation.invars]
        known |= zip(equation.outvars, convert(graph, equation, given))
    return known[jaxpr.outvars[0]]


def _literal(atom: Any) -> Tensor:
    """Returns a number of a program, in its type: its value may be a number of Python."""
    return constant(np.asarray(atom.val, dtype_of(atom.aval.dtype)))


# -- the comparison


def largest_difference(session: Any, run: OpenedRun, network: Network, plain: Plain, batch: int | None) -> float:
    """Returns by how much the numbers of a session of onnxruntime differ from ours, over `_CHECKED` samples.

    Where ours are larger than 1, the difference is relative to the largest of them.
    """
    names, worst = [one["name"] for one in described_inputs(network, plain, batch)], 0.0
    size = batch or _BLOCK
    ours, draw = jax.jit(traced_with("highest", network.apply)), make_noise(network, size)
    taken = {one.name for one in session.get_inputs()}  # an input that changes nothing may be left out
    for first in range(0, _CHECKED, size):
        inputs, labels = _examples(run, network, np.arange(first, first + size))
        expected = np.asarray(ours(network.variables, inputs, labels, jnp.uint32(0)))
        noise = draw(inputs, labels, jnp.uint32(0)) if plain.noise else []
        arrays = [np.asarray(array) for array in (*jax.tree.leaves((inputs, labels)), *noise)]
        feeds = {name: array for name, array in zip(names, arrays, strict=True) if name in taken}
        parts = [slice(0, size)] if batch else [slice(0, 1), slice(1, size)]  # two batch sizes
        with _as_user_error():
            made = [session.run([network.output], {k: a[part] for k, a in feeds.items()})[0] for part in parts]
        scale = max(1.0, float(np.abs(expected).max()))
        difference = float(np.abs(np.concatenate(made) - expected).max()) / scale
        worst = max(worst, math.inf if math.isnan(difference) else difference)
    return worst


def _examples(run: OpenedRun, network: Network, index: np.ndarray) -> tuple[PyTree, np.ndarray | None]:
    """Returns inputs and labels of samples: latents as `gan-jax sample` draws them, else numbers from -1 to 1."""
    classes = run.spec.classes or 1
    labels = (index % classes).astype(np.int32) if network.labels else None
    if network.input == "latents":
        keys = sample_keys(jax.random.key(0), jnp.int32(0), Purpose.LATENT, jnp.asarray(index, jnp.int32))
        return jax.jit(lambda keys: make_inputs(run.gan, {}, keys))(keys), labels
    rng = np.random.default_rng(index[0])

    def draw(one: Any) -> np.ndarray:
        if jnp.issubdtype(one.dtype, jnp.floating):
            return rng.uniform(-1, 1, (len(index), *one.shape)).astype(one.dtype)
        return np.zeros((len(index), *one.shape), one.dtype)

    return jax.tree.map(draw, network.inputs), labels
