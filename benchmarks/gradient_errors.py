"""Measures how far the first gradients of every model are from float64: `python -m benchmarks.gradient_errors`.

Each cell is one model, type, mode and penalty. Its error is the largest, over both players and all leaves of their
gradients, of `max |g - g64| / max |g64|`, where g64 is the gradient of the same step with the same parameters,
batch and draws, computed in float64 on one device. A leaf whose g64 is below 1e-7 of the player's largest is left
out: it is zero but for rounding, as a bias before batch norm.

It writes results/gradient_errors.jsonl and the table in docs/gradients.md. One process a model, with 4 virtual
CPU devices.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gradient_errors.jsonl"
PAGE = ROOT / "docs" / "gradients.md"
START, END = "<!-- benchmark:gradients -->\n", "<!-- /benchmark:gradients -->"

MODELS = ("mlp", "dcgan", "sngan", "sagan", "biggan", "stylegan2", "r3gan")
DTYPES = ("float32", "bfloat16")
MODES = ("jit", "shard", "pmap", "fused")
PENALTIES = ("none", "r1_r2", "lazy r1")
DEVICES = STEPS = 4
BATCH, CLASSES, LATENT, SHAPE = 16, 3, 4, (8, 8, 1)

_FLOOR = 1e-7
_FLAGS = ("XLA_FLAGS", "JAX_DEFAULT_MATMUL_PRECISION")


# -- in the process of one model, which imports JAX


class First(NamedTuple):
    """The state of `keep_first`."""

    count: Any
    grads: Any


def keep_first() -> Any:
    """Returns an optimizer that keeps the first gradient in its state, and changes nothing."""
    import jax
    import jax.numpy as jnp
    import optax

    def init(params: Any) -> First:
        return First(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, First]:
        first = jax.tree.map(lambda g, kept: jnp.where(state.count == 0, g, kept), updates, state.grads)
        return jax.tree.map(jnp.zeros_like, updates), First(state.count + 1, first)

    return optax.GradientTransformation(init, update)


def make_gan(model: str, dtype: str, penalty: str) -> Any:
    """Returns the model in its smallest size, conditional, with everything that it can in `dtype`."""
    import importlib

    import gan_jax
    from gan_jax import losses, penalties

    sizes: dict[str, tuple[dict, dict, dict]] = {  # of both networks, of the generator, of the discriminator
        "mlp": ({"width": 8}, {}, {}),
        "dcgan": ({"width": 4}, {}, {}),
        "sngan": ({"widths": (8, 4)}, {}, {}),
        "sagan": ({"widths": (8, 4)}, {}, {}),
        "biggan": ({"width": 4, "widths": (8, 4)}, {"embedding": 3}, {}),
        "stylegan2": ({"channel_base": 32, "channel_max": 4, "mapping_layers": 1}, {"w_size": 4}, {"group": 8}),
        "r3gan": ({"widths": (4, 4), "cardinality": 2, "blocks": 1}, {"embedding": 3}, {}),
    }
    module, (both, generator, discriminator) = importlib.import_module(f"gan_jax.models.{model}"), sizes[model]
    both = {**both, "classes": CLASSES, "dtype": dtype}
    both |= {"full_precision_up_to": 0} if model == "r3gan" else {}
    terms = {
        "none": (),
        "r1_r2": (gan_jax.Term(0.1, penalties.r1_r2()),),
        "lazy r1": (gan_jax.Term(0.1, penalties.r1(), 16),),
    }
    return gan_jax.GAN(
        module.Generator(SHAPE, **both, **generator),
        module.Discriminator(**both, **discriminator),
        loss=losses.relativistic() if model == "r3gan" else losses.non_saturating(),
        latent=gan_jax.latents.normal(LATENT),
        generator_tx=keep_first(),
        discriminator_tx=keep_first(),
        discriminator_terms=terms[penalty],
    )


def _batches() -> dict[str, Any]:
    """Returns noisy bars `[STEPS, BATCH, 8, 8, 1]` and their labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    noise = rng.normal(size=(STEPS, BATCH, *SHAPE))
    image = np.tanh(noise + np.linspace(-2, 2, SHAPE[0])[:, None, None]).astype(np.float32)
    return {"image": image, "label": rng.integers(0, CLASSES, (STEPS, BATCH)).astype(np.int32)}


def _start(gan: Any) -> Any:
    """Returns the state at step 0, with random numbers where parameters are zero at first."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import gan_jax

    batch = jax.tree.map(lambda x: x[0], _batches())
    state = jax.jit(lambda key: gan_jax.init(gan, key, batch))(jax.random.key(0))
    rng = np.random.default_rng(0)

    def filled(x: Any) -> Any:
        return x if np.any(x) else jnp.asarray(rng.normal(size=x.shape) * 0.2, x.dtype)

    def player(one: Any) -> Any:
        return one.replace(params=jax.tree.map(filled, one.params))

    return state.replace(generator=player(state.generator), discriminator=player(state.discriminator))


def first_gradients(gan: Any, state: Any, mode: str) -> list[dict[str, Any]]:
    """Returns the gradients of the discriminator and the generator in the first step: arrays by path."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import gan_jax

    step = gan_jax.make_train_step(gan, axis_name="data" if mode == "pmap" else None)
    step = {
        "jit": lambda: gan_jax.jit_step(step),
        "shard": lambda: gan_jax.shard_step(step, gan_jax.make_mesh()),
        "pmap": lambda: gan_jax.pmap_step(step, "data"),
        "fused": lambda: gan_jax.jit_step(gan_jax.fuse_steps(step, STEPS)),
    }[mode]()
    batches = _batches() if mode == "fused" else jax.tree.map(lambda x: x[0], _batches())
    state = jax.tree.map(jnp.copy, state)
    if mode in ("shard", "pmap"):
        state = gan_jax.place_state(state, gan_jax.make_mesh())
    state, _ = jax.block_until_ready(step(state, batches))
    return [
        {jax.tree_util.keystr(path): np.asarray(g, np.float64) for path, g in jax.tree.leaves_with_path(kept)}
        for kept in (player.opt_state.grads for player in (state.discriminator, state.generator))
    ]


def error(found: list[dict[str, Any]], exact: list[dict[str, Any]]) -> tuple[float, str]:
    """Returns the largest relative difference of two lists of gradients, and the leaf that has it."""
    import numpy as np

    worst = (0.0, "")
    for player, one, other in zip(("discriminator", "generator"), found, exact, strict=True):
        largest = max(float(np.max(np.abs(g), initial=0)) for g in other.values())
        for path, g in other.items():
            scale = float(np.max(np.abs(g), initial=0))
            if scale > _FLOOR * largest:
                worst = max(worst, (float(np.max(np.abs(one[path] - g))) / scale, player + path))
    return worst


def measure(model: str, dtypes: Iterable[str], modes: Iterable[str], penalties: Iterable[str]) -> list[dict]:
    """Returns the records of one model. It needs `DEVICES` devices."""
    import jax
    import jax.numpy as jnp

    records = []
    for penalty in penalties:
        state = _start(make_gan(model, "float32", penalty))
        jax.config.update("jax_enable_x64", True)  # the state was drawn without it
        wide = jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)
        exact = first_gradients(make_gan(model, "float64", penalty), wide, "jit")
        jax.config.update("jax_enable_x64", False)
        for dtype in dtypes:
            gan = make_gan(model, dtype, penalty)
            for mode in modes:
                value, leaf = error(first_gradients(gan, state, mode), exact)
                cell = {"model": model, "dtype": dtype, "mode": mode, "penalty": penalty}
                records.append(cell | {"error": float(f"{value:.3g}"), "leaf": leaf} | _environment())
                print(json.dumps(records[-1]), flush=True)
    return records


def _environment() -> dict[str, Any]:
    from importlib import metadata

    from gan_jax.runtime.machine import cpu_model, cpu_threads

    return {
        "device": f"{cpu_model()}, {cpu_threads()} threads",
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "flags": {name: os.environ[name] for name in _FLAGS if os.environ.get(name)},
    }


# -- in the process that asks for the models


def table(records: Iterable[dict]) -> str:
    """Returns the table: a row for each model, type and penalty, a column for each mode."""
    cells = {(r["model"], r["dtype"], r["penalty"], r["mode"]): r["error"] for r in records}
    columns = ["jit", *(f"{mode} {DEVICES}" for mode in MODES[1:])]
    lines = ["| model | type | penalty | " + " | ".join(columns) + " |", "|---" * (3 + len(MODES)) + "|"]
    for key in dict.fromkeys(key[:3] for key in cells):
        values = (cells.get((*key, mode)) for mode in MODES)
        shown = ("not measured" if value is None else f"{value:.1e}" for value in values)
        lines.append(f"| {' | '.join(key)} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def read() -> list[dict]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def write_page() -> None:
    """Writes the table into docs/gradients.md."""
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(before + START + table(read()) + END + rest.split(END)[1])


def _key(record: dict) -> tuple[int, ...]:
    orders = (MODELS, DTYPES, PENALTIES, MODES)
    return tuple(order.index(record[name]) for order, name in zip(orders, ("model", "dtype", "penalty", "mode")))


def _keep(record: dict) -> None:
    """Writes a record into the results and the page, in place of an older one of the same cell."""
    records = sorted([r for r in read() if _key(r) != _key(record)] + [record], key=_key)
    RESULTS.write_text("".join(json.dumps(r) + "\n" for r in records))
    write_page()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="default: all")
    parser.add_argument("--one", action="store_true", help="measure in this process, and write nothing")
    arguments = parser.parse_args()
    if arguments.one:
        for model in arguments.models:
            measure(model, DTYPES, MODES, PENALTIES)
        return
    # 189 small programs, each of which runs once: the compiler's optimisations would take most of the time.
    flags = f"--xla_force_host_platform_device_count={DEVICES} --xla_backend_optimization_level=0"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    for model in arguments.models:
        command = [sys.executable, "-m", "benchmarks.gradient_errors", model, "--one"]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("{"):
                    _keep(json.loads(line))
        if process.returncode:
            sys.exit(f"{model} failed")


if __name__ == "__main__":
    main()
