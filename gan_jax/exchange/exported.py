"""What an exported file has: one network of a run as a plain function, and what a reader must know of the run."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import config as configs
from ..checkpoint.digest import leaf_digests, state_digest
from ..config.location import unplaced
from ..errors import UserError
from ..gan import make_inputs
from ..networks import accepted, sample_network
from ..outputs import split_output
from ..pytree import host_array, named_leaves, widened
from ..runtime.precision import matmul_precision, traced_with
from ..step.draws import Purpose, sample_keys
from ..train.layout import this_version
from ..train.open_run import OpenedRun
from ..types import Images, Labels, PyTree

FORMAT = 1  # of what we add to an exported file
_OF_JSON = {"config", "sample", "step", "format", "rate"}
PLAYERS = "generator", "discriminator"
# What JAX raises where a program has no form for export, or needs to know the number that a batch size stands for.
REFUSALS = (ValueError, TypeError, NotImplementedError, jax.errors.InconclusiveDimensionOperation)


class Network(NamedTuple):
    """One network of a run with its variables.

    Attributes:
        name: "generator" or "discriminator".
        apply: `(variables, inputs, labels, noise seed)`, leaves `[B, ...]`, int32 `[B]` or None, uint32 `[]`, to
            images `[B, *S]` or logits `[B]`.
        variables: of the network.
        inputs: the shape of one of the inputs: latents, or what the run's `inputs` make of a row; or an image.
        labels: whether it gets labels.
        input: the name of its inputs.
        output: the name of its output.
    """

    name: str
    apply: Callable[[PyTree, PyTree, Labels | None, jax.Array], jax.Array]
    variables: PyTree
    inputs: PyTree
    labels: bool
    input: str
    output: str

    def function(self, inputs: PyTree, labels: Labels | None, seed: jax.Array) -> jax.Array:
        """Calls the network with its variables, which are constants of a program that has this in it."""
        return self.apply(self.variables, inputs, labels, seed)


def make_network(run: OpenedRun, name: str, truncation: float = 1.0) -> Network:
    """Returns the moving average of a run's generator, or its discriminator, as a plain function.

    The noise of sample i inside a generator is that of sample i of `gan-jax sample --seed`.

    Raises:
        UserError: there is truncation, but the network has none.
    """
    gan, config = run.gan, run.config
    conditional = config.conditional and run.spec.classes is not None
    image = jax.ShapeDtypeStruct(tuple(run.spec.shape), jnp.float32)
    options = {} if truncation == 1.0 else {"truncation": truncation}
    network = getattr(gan, name)
    if options and (name != "generator" or not accepted(network, "apply", options)):
        raise UserError(f"--truncation {truncation}: the {name} of this run has no truncation, leave it out")
    variables = run.state.ema if name == "generator" else run.state.discriminator.variables

    def apply(variables: PyTree, inputs: PyTree, labels: Labels | None, seed: jax.Array) -> Images:
        size = jax.tree.leaves(inputs)[0].shape[0]
        keys = sample_keys(jax.random.key(seed), jnp.int32(0), Purpose.GENERATOR, jnp.arange(size))
        extra = {"label": labels, "axis_name": None, "keys": keys, **options}
        output = sample_network(network, variables, inputs, **extra)
        if name == "generator":
            return split_output(output)[0]
        return gan.loss.logit(output).reshape(size)

    # A CPU computes products in full anyway, so one program says it for all platforms.
    apply = traced_with(matmul_precision(config, "every platform"), apply)
    if name == "discriminator":
        return Network(name, apply, variables, image, conditional, "images", "logits")
    row: dict[str, Any] = {"image": jax.ShapeDtypeStruct((1, *image.shape), image.dtype)}
    if conditional:
        row["label"] = jax.ShapeDtypeStruct((1,), jnp.int32)
    inputs = jax.eval_shape(
        lambda row, seed: make_inputs(gan, row, jax.random.split(jax.random.key(seed), 1)), row, 0
    )
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
    return Network(
        name, apply, variables, one, conditional, "latents" if gan.inputs is None else "inputs", "images"
    )


def variables(run: OpenedRun, name: str) -> dict[str, np.ndarray]:
    """Returns the variables of the generator's moving average, or of the discriminator, by their paths.

    Numbers of 16 bits become float32, which keeps their values. Typed keys are given as their data.
    """
    tree = run.state.ema if name == "generator" else widened(run.state.discriminator.variables)
    return {path: np.asarray(host_array(leaf), order="C") for path, leaf in named_leaves(tree).items()}


def describe(run: OpenedRun) -> dict[str, str]:
    """Returns what every exported file says of its run: texts, of which some are JSON.

    The data are named by their fingerprint and the last part of their path: a file that is published does not say
    how the folders of its author are called.
    """
    spec = run.spec
    sample = {**spec._asdict(), "dtype": np.dtype(spec.dtype).name}
    config = dataclasses.replace(unplaced(run.config), init_from="")
    found = {
        "format": str(FORMAT),
        "gan_jax": this_version(),
        "config": json.dumps(configs.to_json(config)),
        "sample": json.dumps(sample),
        "step": str(run.step),
        "digest": state_digest(leaf_digests(run.state)),
        "data": run.data,
    }
    return found if run.rate is None else {**found, "rate": json.dumps(run.rate)}


def metadata_json(run: OpenedRun) -> dict[str, object]:
    """Returns `describe` as one JSON object."""
    found = describe(run)
    return {**found, **{name: json.loads(found[name]) for name in found.keys() & _OF_JSON}}
