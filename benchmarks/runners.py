"""Every way to run a case, as `run(n)`: n steps, waited for."""

import dataclasses
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax.ops.backend import formulations

from .cases import Case, init
from .peers import tutorial
from .peers.parity import KERAS

PEERS = ("torch_eager", "torch_tuned", "torch_compile", "jax_tutorial", "keras")
_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass
class Runner:
    """A variant, ready to be timed.

    Attributes:
        run: `run(n)` makes n calls and waits for them.
        steps: training steps in one call.
        compile_s: seconds to trace and compile, None where it can't be told from the first call.
        first_s: seconds of the first call, compilation included.
        flops: of one step, from the compiled program, or None.
        memory_bytes: that the program needs, arguments and temporaries, or None.
    """

    run: Callable[[int], None]
    steps: int = 1
    compile_s: float | None = None
    first_s: float | None = None
    flops: float | None = None
    memory_bytes: int | None = None

    def begin(self) -> "Runner":
        """Make the first call, and note how long it took."""
        begun = time.perf_counter()
        self.run(1)
        self.first_s = (self.compile_s or 0.0) + time.perf_counter() - begun
        return self


def wrapped(gan: gan_jax.GAN, mode: str, fuse: int = 1, devices: int = 1) -> tuple[gan_jax.Step, Any]:
    """The step of `gan` in a mode ("jit", "shard", "pmap"), and the mesh it runs on, or None."""
    step = gan_jax.make_train_step(gan, axis_name="data" if mode == "pmap" else None)
    step = gan_jax.fuse_steps(step, fuse) if fuse > 1 else step
    if mode == "jit":
        return gan_jax.jit_step(step), None
    mesh = gan_jax.make_mesh(devices)
    if mode == "shard":
        return gan_jax.shard_step(step, mesh), mesh
    return gan_jax.pmap_step(step, "data", jax.devices()[:devices]), mesh


def placed(step: gan_jax.Step, mesh: Any, state: Any, batch: Any) -> tuple[Any, Any]:
    """State and batch where the step of `wrapped` wants them."""
    if mesh is None:
        return state, jax.device_put(batch)
    return gan_jax.place_state(state, mesh), gan_jax.place_batch(batch, mesh, step.batch_axis)


def ours(
    case: Case, mode: str = "jit", *, fuse: int = 1, precision: str = "float32", devices: int = 1, **changes: Any
) -> Runner:
    """gan_jax's own step on a batch that lies on the device. `changes` replace fields of the `GAN`."""
    gan = case.gan(_DTYPES[precision], **changes)
    step, mesh = wrapped(gan, mode, fuse, devices)
    images = case.images(case.batch)
    rows = {"image": np.stack([images] * fuse) if fuse > 1 else images}
    state, batch = placed(step, mesh, init(case, gan), rows)
    begun = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    compile_s = time.perf_counter() - begun
    box = [state]
    wait = jax.default_backend() == "cpu" and devices > 1  # collectives that queue up there can deadlock

    def run(n: int) -> None:
        for _ in range(n):
            box[0], metrics = compiled(box[0], batch, ())
            if wait:
                jax.block_until_ready(metrics)
        jax.block_until_ready(box[0])

    memory = compiled.memory_analysis()
    needed = None
    if memory is not None:
        needed = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        needed -= memory.alias_size_in_bytes
    # A loop's body is counted once, however often it runs: this is one step's figure in every mode.
    flops = (compiled.cost_analysis() or {}).get("flops")
    if case.name.startswith("r3gan") and formulations().grouped == "blocks":
        flops = None  # so is the body of a loop over groups, and that is no step's figure
    return Runner(run, fuse, compile_s, flops=flops, memory_bytes=needed).begin()


def unavailable(case: Case, name: str, precision: str = "float32") -> str:
    """Why one of `PEERS` can't play a case here; "" where it can."""
    package = {"jax_tutorial": "", "keras": "Keras"}.get(name, "PyTorch")
    if package and importlib.util.find_spec({"Keras": "keras", "PyTorch": "torch"}[package]) is None:
        return f"{package} is not installed"
    if name == "keras" and case.name not in KERAS:
        return "not written in Keras"
    if package != "PyTorch" and precision != "float32":
        return "float32 only"
    if name == "jax_tutorial" and tutorial.too_slow(case):
        return "native grouped convolutions take minutes a step on a CPU"
    if name == "torch_compile" and case.gamma:
        return "torch.compile has no second derivatives"
    return ""


def peer(case: Case, name: str, *, precision: str = "float32", device: str = "cpu") -> Runner:
    """One of `PEERS` on the same batch, from weights made by gan_jax."""
    state = init(case, case.gan())
    images = case.images(case.batch)
    if name == "jax_tutorial":
        simple, _ = tutorial.make(case, state)

        def loop(n: int) -> None:
            for _ in range(n):
                simple(images)

        return Runner(loop).begin()
    params = jax.tree.map(np.array, (state.generator.params, state.discriminator.params))
    if name == "keras":
        from .peers import keras_step

        steps, _ = keras_step.make(case, params)

        def fit(n: int) -> None:
            steps(n, images)

        return Runner(fit).begin()
    from .peers import torch_step

    other = torch_step.make(case, params, name, device=device, half=precision == "bfloat16")  # type: ignore[arg-type]
    batch = other.place(images)

    def run(n: int) -> None:
        for _ in range(n):
            other.step(batch)
        other.wait()

    return Runner(run).begin()
