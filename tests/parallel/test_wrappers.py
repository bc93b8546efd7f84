"""A wrapped step inside other transformations of JAX, and over meshes of every kind.

The cases run in one process with four virtual devices (`main`), which prints the differences from `raw`, the plain
step under `jax.jit`, as JSON.
"""

import dataclasses
import json
import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import gan_jax
from devices import run_json
from gan_jax.models import dcgan
from gan_jax.ops.backend import platform_of
from gan_jax.parallel import wrappers
from gan_jax.parallel.mesh import auto_mesh

TOLERANCE = 1e-6
SHAPE = (8, 8, 1)
BATCH = {"image": np.random.default_rng(0).normal(size=(16, *SHAPE)).astype(np.float32)}
TWO = jax.tree.map(lambda x: np.stack([x, -x]), BATCH)


def make():
    return gan_jax.GAN(
        generator=dcgan.Generator(SHAPE, width=4), discriminator=dcgan.Discriminator(width=4),
        loss=gan_jax.losses.non_saturating(),
        generator_tx=optax.sgd(0.1), discriminator_tx=optax.sgd(0.1),
        latent=gan_jax.latents.normal(4),
    )  # fmt: skip


class OfGAN:
    """The cases with a step of a GAN."""

    @staticmethod
    def start():
        return jax.jit(lambda key: gan_jax.init(make(), key, BATCH))(jax.random.key(0))

    @staticmethod
    def step(axis_name=None):
        return gan_jax.make_train_step(make(), axis_name=axis_name)


class ByHand:
    """The cases with a small step, written by hand, which reads the batch as a step of a GAN does."""

    @staticmethod
    def start():
        return {"step": jnp.zeros(()), "params": jnp.linspace(-1, 1, 64).reshape(8, 8)}

    @staticmethod
    def step(axis_name=None):
        def step(state, batch):
            def loss(params):
                return jnp.mean(jnp.tanh(batch["image"].reshape(-1, 8) @ params) ** 2)

            value, grads = jax.value_and_grad(loss)(state["params"])
            if axis_name is not None:
                value, grads = jax.lax.pmean((value, grads), axis_name)
            params = state["params"] - 0.1 * grads
            return {"step": state["step"] + 1, "params": params}, {"loss": value, "norm": jnp.sum(grads**2)}

        return gan_jax.Step(step, axis_name=axis_name)


def wrapped(case, mode):
    step = case.step("data" if mode == "pmap" else None)
    if mode == "pmap":
        return gan_jax.pmap_step(step, "data")
    return gan_jax.shard_step(step, gan_jax.make_mesh()) if mode == "shard" else gan_jax.jit_step(step)


def slope(step, state):
    """Returns the gradient of a metric by the state, through the step."""
    leaves, structure = jax.tree.flatten(state)
    real = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]

    def metric(moved):
        moved = iter(moved)
        changed = [next(moved) if is_real else leaf for leaf, is_real in zip(leaves, real, strict=True)]
        return sum(jax.tree.leaves(step(jax.tree.unflatten(structure, changed), BATCH)[1]))

    return jax.grad(metric)([leaf for leaf, is_real in zip(leaves, real, strict=True) if is_real])


# name -> function of (step, state); the state is used again, so nothing here may donate it.
TRANSFORMED = {
    "jit": lambda step, state: jax.jit(step)(state, BATCH),
    "jit without arguments": lambda step, state: jax.jit(lambda: step(state, BATCH))(),
    "jit_step": lambda step, state: gan_jax.jit_step(step)(jax.tree.map(jnp.copy, state), BATCH),
    "scan": lambda step, state: jax.lax.scan(lambda state, _: step(state, BATCH), state, None, length=2),
    "fuse_steps": lambda step, state: gan_jax.fuse_steps(step, 2)(state, TWO),
    "jit of fuse_steps": lambda step, state: jax.jit(gan_jax.fuse_steps(step, 2))(state, TWO),
    "vmap": lambda step, state: jax.vmap(step, (None, 0))(state, TWO),
    "grad": slope,
    "make_jaxpr": lambda step, state: jax.extend.core.jaxpr_as_fun(jax.make_jaxpr(step)(state, BATCH))(
        *jax.tree.leaves((state, BATCH))
    ),
}


def gap(one, other):
    """Returns the largest difference between the leaves of two trees; keys are left out."""
    pairs = zip(*(jax.tree.leaves(jax.device_get(numbers(tree))) for tree in (one, other)), strict=True)
    return max(float(np.max(np.abs(a - b), initial=0.0)) for a, b in pairs)


def numbers(tree):
    return [x for x in jax.tree.leaves(tree) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]


def chosen(table, case):
    """Returns the whole table in the slow test, and else some of it."""
    quick = {"jit", "fuse_steps", "make_jaxpr", "auto, another name", "two explicit axes"}
    return {name: value for name, value in table.items() if case is OfGAN or name in quick}


def transformed(case, found):
    raw = jax.jit(case.step().function)
    for mode in ("jit", "shard", "pmap"):
        step = wrapped(case, mode)
        for name, apply in chosen(TRANSFORMED, case if mode != "jit" else OfGAN).items():
            found[f"{mode} in {name}"] = gap(apply(step, case.start()), apply(raw, case.start()))


def meshes():
    devices = np.asarray(jax.devices())
    return {
        "auto, another name": Mesh(devices, ("batch",)),
        "explicit": jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,)),
        "two axes": Mesh(devices.reshape(2, 2), ("data", "model")),
        "two explicit axes": jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Explicit,) * 2),
    }


def over_meshes(case, found):
    start, raw = case.start, case.step()
    expected = jax.device_get(numbers(jax.jit(raw.function)(start(), BATCH)))
    for name, mesh in chosen(meshes(), case).items():
        step, shardings = gan_jax.shard_step(raw, mesh), gan_jax.state_shardings(start(), mesh, 1)
        split_state = gan_jax.shard_step(raw, mesh, shardings)
        found[f"{name}, from the host"] = gap(step(start(), BATCH), expected)
        placed = gan_jax.place_state(start(), mesh), gan_jax.place_batch(BATCH, mesh)
        found[f"{name}, placed"] = gap(step(*placed), expected)
        own = (
            jax.device_put(start(), NamedSharding(mesh, P())),
            jax.device_put(BATCH, NamedSharding(mesh, P(mesh.axis_names))),
        )
        lowered = step.lower(*jax.eval_shape(lambda own=own: own)).as_text()
        found[f"{name}, lowered for 4 devices"] = 0.0 if "mhlo.num_partitions = 4" in lowered else 1.0
        found[f"{name}, device_put"] = gap(step(*own), expected)
        found[f"{name}, split state"] = gap(split_state(jax.device_put(start(), shardings), BATCH), expected)
        with jax.set_mesh(mesh):
            found[f"{name}, set_mesh"] = gap(step(start(), jax.tree.map(jnp.asarray, BATCH)), expected)
            step = wrapped(case, "pmap")
            found[f"{name}, set_mesh, pmap"] = gap(step(start(), jax.tree.map(jnp.asarray, BATCH)), expected)


def main(case):
    jax.config.update("jax_disable_most_optimizations", True)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a buffer that cannot be donated
        transformed(case, found)
        over_meshes(case, found)
    print(json.dumps(found))


@pytest.mark.parametrize(
    ("case", "count"),
    [
        pytest.param("ByHand", len(TRANSFORMED) + 2 * 3 + 2 * 7, marks=pytest.mark.slow),
        pytest.param("OfGAN", 3 * len(TRANSFORMED) + 4 * 7, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
def test_a_step_composes_and_every_mesh_will_do(case, count):
    source = f"import test_wrappers as t; t.main(t.{case})"
    found = run_json(source, devices=4, timeout=280)
    assert len(found) == count
    assert not {name: value for name, value in found.items() if not value <= TOLERANCE}


# In this process, with one device.


def test_shapes_of_a_compiled_step():
    case = ByHand
    expected = jax.eval_shape(case.step(), case.start(), BATCH)
    assert jax.eval_shape(wrapped(case, "jit"), case.start(), BATCH) == expected


def test_the_state_is_donated_at_the_top_only():
    state, step = ByHand.start(), wrapped(ByHand, "jit")
    jax.jit(step)(state, BATCH)
    assert not state["params"].is_deleted()
    step(state, BATCH)
    assert state["params"].is_deleted()


def test_the_compiler_options_are_those_of_the_device(monkeypatch):
    asked = []
    monkeypatch.setattr(wrappers, "compiler_options", lambda platform: asked.append(platform))
    gpu = types.SimpleNamespace(platform="gpu", client=types.SimpleNamespace(platform_version="cuda 12090"))
    assert [platform_of(device) for device in (gpu, jax.devices()[0])] == ["cuda", "cpu"]
    case, device = ByHand, jax.devices()[0]
    placed = gan_jax.jit_step(case.step(), device), gan_jax.shard_step(case.step(), gan_jax.make_mesh(1))
    ends = [numbers(step(case.start(), BATCH)) for step in (*placed, gan_jax.jit_step(case.step()))]
    assert asked == ["cpu", "cpu", None]
    assert gap(ends[0], ends[2]) == gap(ends[1], ends[2]) == 0.0


def test_replacing_the_function_forgets_how_to_build_the_step():
    """`shard_step` would else build the step without what a user wrapped around it."""
    step = gan_jax.make_train_step(make())
    assert step.over is not None
    assert dataclasses.replace(step, function=lambda state, batch: step(state, batch)).over is None
    assert gan_jax.fuse_steps(step, 2).over is not None


def test_a_mesh_without_devices_is_refused():
    with pytest.raises(TypeError, match=r"a mesh of devices is needed, .*, got AbstractMesh"):
        auto_mesh(AbstractMesh((4,), ("data",)))


def test_a_batch_over_an_explicit_axis_in_another_program():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:1])
    batch = jax.device_put(BATCH, NamedSharding(mesh, P("data")))
    state = jax.eval_shape(OfGAN.start)
    for step in (OfGAN.step(), gan_jax.shard_step(OfGAN.step(), mesh)):
        with pytest.raises(ValueError, match=r"mesh axis 'data' of the type Explicit.*call shard_step"):
            jax.eval_shape(step, state, batch)
    assert gan_jax.shard_step(OfGAN.step(), mesh).trace(state, batch)


def test_a_step_over_a_device_axis_is_refused_by_shard_step():
    step = gan_jax.make_train_step(make(), axis_name="data")
    with pytest.raises(ValueError, match="this one reduces over 'data': build it with make_train_step"):
        gan_jax.shard_step(step, gan_jax.make_mesh(1))
    assert gan_jax.jit_step(step).axis_name == "data"  # for a `shard_map` or `pmap` around it
