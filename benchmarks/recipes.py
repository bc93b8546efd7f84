"""Times the step of recipes on the device at hand: `python -m benchmarks.recipes [NAME=BATCH ...]`.

A record has images a second and the utilisation: the model's own FLOPs of a step a second, over the speed of a
matrix product measured in the same run. `python -m benchmarks.predicted` puts the program's bounds beside it.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

import gan_jax
from gan_jax.config import Config, load, override
from gan_jax.config.build import SampleSpec, batch_spec, make_gan
from gan_jax.ops import compiler_options
from gan_jax.runtime.precision import matmul_precision
from gan_jax.targets import traced_flops

from . import command, machine, predicted, records
from .layers import RECIPES
from .runners import Runner, needed_memory, repeat
from .suites import Row
from .timing import Sample, interleaved

BATCHES = {
    "cifar10_r3gan": 256, "cifar10_dcgan": 256, "cifar10_stylegan2_ada": 64, "cifar10_sngan": 64,
    "cifar10_biggan": 64,
}  # fmt: skip
"""What is timed unless names are given: recipes and batch sizes, the most wanted first."""

DATA = {**RECIPES, "digits": SampleSpec((16, 16, 1), "uint8", 10)}


def recipe(name: str, batch: int, precision: str) -> Config:
    return override(load(name), [f"batch={batch}", f"precision={precision}"])


def random_batch(shapes: dict[str, jax.ShapeDtypeStruct], classes: int | None) -> dict[str, np.ndarray]:
    """Returns random pixels and labels; on a GPU zeros would be faster than real data."""
    draw = np.random.default_rng(0)
    limits = {"image": 256, "label": classes or 1}
    return {name: draw.integers(0, limits[name], x.shape).astype(x.dtype) for name, x in shapes.items()}


def runner(config: Config, data: SampleSpec) -> Runner:
    """Returns a runner of a recipe's step on one device, its batch on the device."""
    gan = make_gan(config, data)
    shapes = batch_spec(config, gan, data)
    batch = jax.device_put(random_batch(shapes, data.classes))
    init = jax.jit(lambda key: gan_jax.init(gan, key, shapes), compiler_options=compiler_options(once=True))
    state = init(jax.random.key(0))
    start = time.perf_counter()
    with jax.default_matmul_precision(matmul_precision(config, jax.default_backend()) or "default"):
        traced = gan_jax.jit_step(gan_jax.make_train_step(gan)).trace(state, batch)
    compiled = traced.lower().compile()
    compile_s = time.perf_counter() - start
    run = repeat(lambda state, batch: compiled(state, batch, ()), state, lambda: batch)
    return Runner(
        run,
        1,
        compile_s,
        None,
        traced_flops(traced.jaxpr),
        needed_memory(compiled),
        lambda: compiled.as_text() or "",
    ).begin()


def rows(batches: dict[str, int], precision: str, rounds: int, seconds: float) -> Iterator[Row]:
    """Times the recipes one after the other; one that does not fit is a row that says so."""
    for name, batch in batches.items():
        try:
            ready = runner(recipe(name, batch, precision), DATA[name])
            sample: Sample | None = interleaved({"step": ready.run}, rounds, seconds)["step"]
            note = ""
        except RuntimeError as error:
            ready, sample = Runner(lambda n: None), None
            note = f"not measured: {(str(error).splitlines() or [repr(error)])[0][:120]}"
        yield Row("recipes", name, "gan_jax", "jit", batch, ready, sample, precision, note=note)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipes", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("recipes", nargs="*", metavar="NAME=BATCH", help=f"of {', '.join(DATA)}; default: five")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one sample")
    parser.add_argument("--json", type=Path, required=True, help="the records are appended to it")
    parser.add_argument("--programs", type=Path, help="what `benchmarks.predicted` reads is appended to it")
    parsed = parser.parse_args(arguments)
    pairs = [item.partition("=") for item in parsed.recipes]
    for name, _, batch in pairs:
        if name not in DATA or not batch.isdigit():
            parser.error(f"{name}={batch}: give NAME=BATCH, NAME one of {', '.join(DATA)}")
    batches = {name: int(batch) for name, _, batch in pairs} or BATCHES
    peaks = machine.measure()
    print(command.peaks_line(peaks), flush=True)
    for row in rows(batches, parsed.precision, parsed.rounds, parsed.seconds):
        measured = records.record(row, peaks)
        print(command.line(measured), flush=True)
        records.write(parsed.json, [measured])
        if parsed.programs and row.sample:
            chip = predicted.chip_of(peaks.device) or "h200"  # elsewhere the bounds are those of an H200
            entry = predicted.entry(row.case, row.batch, row.precision, row.runner.text(), chip)
            with parsed.programs.open("a") as file:
                file.write(json.dumps(entry) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
