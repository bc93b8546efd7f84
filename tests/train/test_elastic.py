"""A run that changes the number of devices has the same data and draws, and the same state to rounding."""

import pytest

import runs
from devices import run_json

pytestmark = pytest.mark.timeout(300)

MODES = ["replicated", "sharded", "pmap"]
TOLERANCE = 1e-5
FAST = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # to compile
SGD = runs.TINY.replace(
    "        log=Log",
    '        generator_optimizer=Call("sgd", learning_rate=0.02),\n'
    '        discriminator_optimizer=Call("sgd", learning_rate=0.02),\n'
    "        log=Log",
)
COMMON = ["log.every=50", "sample.every=1000", "checkpoint.every=50", "checkpoint.keep=9"]

MOVES = """
import json
import gan_jax.parallel, runs
from gan_jax.commands.digest import digest
from gan_jax.train.open_run import open_run
from modes import difference, on_host
from pathlib import Path

gan_jax.parallel.state_shardings.__defaults__ = (1,)  # split every leaf that can be, however small
config, folder, mode, devices, common = {config!r}, Path({folder!r}), {mode!r}, {devices!r}, {common!r}

def train(name, steps, devices):
    parallel = ["parallel.mode=pmap"] if mode == "pmap" else [f"parallel.params={{mode}}"] * (mode == "sharded")
    where = [f"parallel.devices={{devices}}", *parallel, "--workdir", folder / name]
    outcome = runs.call("train", config, f"steps={{steps}}", *common, *where)
    assert outcome.code == 0, outcome.err
    return outcome

train("one_device", 50 * len(devices), 1)
found = []
for moves, count in enumerate(devices, 1):
    log = train("moved", 50 * moves, count).err
    states = [on_host(open_run(folder / name, 50 * moves).state) for name in ("one_device", "moved")]
    equal = len({{digest(folder / name, step=50 * moves) for name in ("one_device", "moved")}}) == 1
    found.append([difference(*states), equal, "results agree to rounding" in log])
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_run_moves_between_devices(mode, tmp_path):
    """Compares 50 steps on each number of devices with a run that stays on one device."""
    devices = [1, 2, 4, 8, 1]
    config = str(runs.write_config(tmp_path, SGD))
    source = MOVES.format(config=config, folder=str(tmp_path), mode=mode, devices=devices, common=COMMON)
    found = run_json(source, devices=max(devices), timeout=280, **FAST)
    print(found)
    for (difference, equal, noted), count, before in zip(found, devices, [None, *devices]):
        assert difference < TOLERANCE
        assert noted == (before is not None and before != count)
        if before is None:
            assert equal
    assert any(not equal for _, equal, _ in found)  # otherwise nothing was split


DRAWS = """
import json
import jax, jax.numpy as jnp, numpy as np
import gan_jax, small_gan
from gan_jax import augment
from gan_jax.step.draws import draw, global_index
from gan_jax.step import Step
from modes import AXIS

gan = small_gan.make(
    latent=gan_jax.latents.normal(5), augment=augment.diff_augment("translation,cutout"),
)

def checksum(tree, index):
    \"\"\"Returns a number that depends on every bit and its position, but not on the order of the sum.\"\"\"
    total = jnp.uint32(0)
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        bits = jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(len(index), -1)
        position = index[:, None].astype(jnp.uint32) * 7919 + jnp.arange(bits.shape[1], dtype=jnp.uint32) + 1
        total = total * 31 + jnp.sum(bits * (2 * position + 1) ^ (bits >> 16), dtype=jnp.uint32)
    return total

def probe(axis_name):
    def step(state, batch):
        index = global_index(len(batch["image"]), axis_name)
        draws = draw(gan, state["key"], state["step"], 0, {}, index)
        images = gan.augment.apply(gan.augment.init(), batch["image"], draws.real)
        values = {"draws": draws, "augmented": images, "data": batch}
        parts = {name: checksum(value, index) for name, value in values.items()}
        if axis_name is not None:
            parts = jax.lax.psum(parts, axis_name)
        return {**state, "step": state["step"] + 1}, parts
    return Step(step, 0, axis_name)

images = np.random.default_rng(0).integers(0, 256, (3, 16, 8, 8, 1)).astype(np.float32)
found = {}
for count in (1, 2, 8):
    mesh = gan_jax.make_mesh(count)
    modes = {
        "jit": gan_jax.jit_step(probe(None)),
        "shard": gan_jax.shard_step(probe(None), mesh),
        "pmap": gan_jax.pmap_step(probe(AXIS), AXIS, list(mesh.devices.flat)),
    }
    for name, step in modes.items():
        state, seen = {"key": jax.random.key(3), "step": jnp.int32(7)}, []
        for batch in images:
            state, parts = step(state, {"image": batch})
            seen.append({part: int(value) for part, value in parts.items()})
        found[f"{name} {count}"] = seen
print(json.dumps(found))
"""


@pytest.mark.slow
def test_draws_do_not_depend_on_devices():
    """Latents, keys of every purpose, augmented images and the data have the same bits in every mode."""
    found = run_json(DRAWS, devices=8, **FAST)
    assert len(found) == 9
    reference = found["jit 1"]
    assert all(seen == reference for seen in found.values()), found
    numbers = [value for seen in reference for value in seen.values()]
    assert len(set(numbers)) == len(numbers) == 9  # and they depend on the step
