"""Builds a `Runner` for every way to run a case: gan_jax's modes and the peers."""

import dataclasses
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

import gan_jax
from gan_jax.targets import traced_flops
from gan_jax.types import PyTree

from .cases import Case, init
from .peers import torch_device, tutorial
from .peers.parity import KERAS

PEERS = ("torch_eager", "torch_tuned", "torch_compile", "jax_tutorial", "keras")
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass
class Runner:
    """A compiled variant that is ready to be timed.

    Attributes:
        run: `run(n)` makes n calls and waits for them.
        steps: number of training steps in one call.
        compile_s: seconds to trace and compile; None if they can't be separated from the first call.
        first_s: seconds of the first call, compilation included.
        flops: FLOPs of one step on one device, of the matrix products and convolutions in its trace, or None. Of a
            part of a step they are the compiler's.
        memory_bytes: memory that the program needs for arguments, results and temporaries, or None.
        text: returns the compiled program, as the compiler prints it, or "".
    """

    run: Callable[[int], object]
    steps: int = 1
    compile_s: float | None = None
    first_s: float | None = None
    flops: float | None = None
    memory_bytes: int | None = None
    text: Callable[[], str] = str

    def begin(self) -> "Runner":
        """Makes the first call, notes how long it took, and returns this runner."""
        start = time.perf_counter()
        self.run(1)
        self.first_s = (self.compile_s or 0.0) + time.perf_counter() - start
        return self


def repeat(
    step: Callable[..., tuple[PyTree, PyTree]],
    state: PyTree,
    next_batch: Callable[[], PyTree],
    wait_for_each: bool = False,
) -> Callable[[int], None]:
    """Returns `run(n)`, which makes n calls of `step`, each on the state of the call before, and waits."""

    def run(n: int) -> None:
        nonlocal state
        for _ in range(n):
            state, metrics = step(state, next_batch())
            if wait_for_each:
                jax.block_until_ready(metrics)
        jax.block_until_ready(state)

    return run


def make_step(gan: gan_jax.GAN, mode: str, fuse: int = 1, devices: int = 1) -> tuple[gan_jax.Step, Mesh | None]:
    """Returns the training step in a mode ("jit", "shard", "pmap") and its mesh, which is None for "jit"."""
    step = gan_jax.make_train_step(gan, axis_name="data" if mode == "pmap" else None)
    step = gan_jax.fuse_steps(step, fuse) if fuse > 1 else step
    if mode == "jit":
        return gan_jax.jit_step(step), None
    mesh = gan_jax.make_mesh(devices)
    if mode == "shard":
        return gan_jax.shard_step(step, mesh), mesh
    return gan_jax.pmap_step(step, "data", jax.devices()[:devices]), mesh


def place(step: gan_jax.Step, mesh: Mesh | None, state: PyTree, batch: PyTree) -> tuple[PyTree, PyTree]:
    """Puts state and batch on the devices, as the step of `make_step` expects them."""
    if mesh is None:
        return state, jax.device_put(batch)
    return gan_jax.place_state(state, mesh), gan_jax.place_batch(batch, mesh, step.batch_axis)


def ours(
    case: Case, mode: str = "jit", *, fuse: int = 1, precision: str = "float32", devices: int = 1, **changes: Any
) -> Runner:
    """Returns a runner of gan_jax's step, its batch on the device. `changes` replace fields of the `GAN`."""
    gan = case.gan(_DTYPES[precision], **changes)
    step, mesh = make_step(gan, mode, fuse, devices)
    images = case.images(case.batch)
    host_batch = {"image": np.stack([images] * fuse) if fuse > 1 else images}
    state, batch = place(step, mesh, init(case, gan), host_batch)
    start = time.perf_counter()
    traced = step.trace(state, batch)
    compiled = traced.lower().compile()
    compile_s = time.perf_counter() - start
    # On the CPU, collectives of several steps in flight can deadlock.
    wait_for_each = jax.default_backend() == "cpu" and devices > 1
    run = repeat(lambda state, batch: compiled(state, batch, ()), state, lambda: batch, wait_for_each)
    memory_bytes = needed_memory(compiled)
    flops = traced_flops(traced.jaxpr) / fuse / devices
    return Runner(run, fuse, compile_s, None, flops, memory_bytes, lambda: compiled.as_text() or "").begin()


def needed_memory(compiled: jax.stages.Compiled) -> int | None:
    """Returns the bytes that a program needs for arguments, results and temporaries; None: not known."""
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    needed = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return needed - memory.alias_size_in_bytes


def unavailable(case: Case, name: str, precision: str = "float32") -> str:
    """Returns why one of `PEERS` can't run a case here, or "" if it can."""
    package = {"jax_tutorial": "", "keras": "Keras"}.get(name, "PyTorch")
    if package and importlib.util.find_spec({"Keras": "keras", "PyTorch": "torch"}[package]) is None:
        return f"{package} is not installed"
    if name == "keras" and case.name not in KERAS:
        return "not written in Keras"
    if package != "PyTorch" and precision != "float32":
        return "float32 only"
    if name == "jax_tutorial" and tutorial.too_slow(case):
        return "native grouped convolutions take minutes a step on a CPU"
    return ""


def peer(case: Case, name: str, *, precision: str = "float32") -> Runner:
    """Returns a runner of one of `PEERS`, on the same batch and from gan_jax's initial weights."""
    state = init(case, case.gan())
    images = case.images(case.batch)
    if name == "jax_tutorial":
        tutorial_step, _ = tutorial.make(case, state)

        def run(n: int) -> None:
            for _ in range(n):
                tutorial_step(images)

        return Runner(run).begin()
    params = jax.tree.map(np.array, (state.generator.params, state.discriminator.params))
    if name == "keras":
        from .peers import keras_step

        fit, _ = keras_step.make(case, params)
        return Runner(lambda n: fit(n, images)).begin()
    from .peers import torch_step

    half = precision == "bfloat16"
    torch_peer = torch_step.make(case, params, name, device=torch_device(), half=half)  # type: ignore[arg-type]
    batch = torch_peer.place(images)

    def run_torch(n: int) -> None:
        for _ in range(n):
            torch_peer.step(batch)
        torch_peer.wait()

    return Runner(run_torch).begin()
