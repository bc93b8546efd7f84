"""Times each layer of the models in each spelling: `python -m benchmarks.formulations`.

One row is a layer, a direction (forward, input gradient, kernel gradient) and a spelling, in bfloat16 on random
data. Many calls are one program, so dispatch does not count; the spellings of a row alternate. The rows are the
source of `gan_jax.ops.FORMULATIONS`: commit their file with a change of it.
"""

import argparse
import datetime
import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import machine
from .layers import RECIPES, RESAMPLINGS, Layer, layers
from .spellings import Function, directions, spellings
from .timing import interleaved

_TOGETHER = 6  # layers that are compiled together, before they are timed
_ROUNDS = 5
TOY = {
    Layer("conv", (2, 8, 8, 4), (4, 4, 4, 8), (("padding", 1), ("stride", 2))): ["toy"],
    Layer("conv_transpose", (2, 4, 4, 8), (4, 4, 4, 8), (("padding", 1), ("stride", 2))): ["toy"],
    Layer("grouped_conv", (2, 4, 4, 16), (3, 3, 2, 16), (("groups", 8), ("padding", 1), ("stride", 1))): ["toy"],
    Layer("upsample", (2, 4, 4, 8), (4,), (("factor", 2), ("gain", 1.0), ("taps", (1.0, 3.0, 3.0, 1.0)))): ["toy"],
}


def by_value(found: dict[Layer, list[str]]) -> list[Layer]:
    """Orders the layers: first those whose choice is open (groups, transposes, small maps), then the others."""

    def rank(layer: Layer) -> tuple[int, int]:
        kinds = ("grouped_conv", "conv_transpose", *RESAMPLINGS, "conv")
        small = layer.kind == "conv" and max(layer.x[1:3]) <= 8
        return (1 if small else kinds.index(layer.kind), -len(found[layer]))

    return sorted(found, key=rank)


def calls_per_program(layer: Layer, seconds: float) -> int:
    """Returns how many calls make a program of about `seconds` at half an H200's speed; 2 to 200."""
    values = math.prod(layer.x) + math.prod(layer.y)
    guess = (layer.flops or 0.0) / 400e12 + 2 * values / 2e12 + 5e-6
    return max(2, min(200, round(seconds / guess)))


def repeated(function: Function, calls: int) -> Function:
    """Returns a program of `calls` calls, one after the other.

    One number of each call's input is from the result before it. Without that, the compiler computes the call once
    and takes it out of the loop (also through `lax.optimization_barrier`). The loop keeps each result whole, so
    that the compiler computes all of it.
    """

    def run(a: jax.Array, b: jax.Array) -> jax.Array:
        def body(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            a, out = carry
            a = a.at[(0,) * a.ndim].set(out[(0,) * out.ndim])
            return a, function(a, b)

        shape = jax.eval_shape(function, a, b)
        return lax.fori_loop(0, calls, body, (a, jnp.zeros(shape.shape, shape.dtype)))[1]

    return run


def _compiled(function: Function, shapes: Sequence[tuple[int, ...]], calls: int) -> Callable[..., jax.Array] | str:
    try:
        arguments = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes]
        return jax.jit(repeated(function, calls)).lower(*arguments).compile()
    except Exception as error:  # the compiler has no algorithm for it, or no memory
        return str(error).splitlines()[0][:120]


def _rows_of(layer: Layer, programs: dict, calls: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Times the programs of one layer, direction by direction."""
    for direction in directions(layer):
        ready = {name: made for (which, name), made in programs.items() if which == direction}
        shapes = next(iter(spellings(layer, direction).values()))[1]
        keys = jax.random.split(jax.random.key(0), 2)
        arrays = [jax.random.normal(key, shape, jnp.bfloat16) for key, shape in zip(keys, shapes)]

        runners = {name: _runner(made, arrays) for name, made in ready.items() if not isinstance(made, str)}
        samples = interleaved(runners, _ROUNDS, seconds, pause=0.0)
        for name, made in ready.items():
            row: dict[str, Any] = {"direction": direction, "spelling": name}
            if name in samples:
                microseconds = [1e3 * t / calls for t in samples[name][:3]]
                row |= dict(zip(("us_median", "us_min", "us_max"), microseconds))
                row["tflops"] = layer.flops / microseconds[0] / 1e6 if layer.flops else None
            else:
                row["note"] = f"not compiled: {made}"
            yield row


def _runner(program: Callable[..., jax.Array], arrays: Sequence[jax.Array]) -> Callable[[int], None]:
    def run(n: int) -> None:
        for _ in range(n):
            out = program(*arrays)
        jax.block_until_ready(out)

    return run


def measure(found: dict[Layer, list[str]], seconds: float, sample: float) -> Iterator[dict[str, Any]]:
    """Yields the rows, the most valuable layers first. No new layers are started after `seconds`."""
    start = time.monotonic()
    waiting = by_value(found)
    with ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2)) as pool:
        for chunk in (waiting[i : i + _TOGETHER] for i in range(0, len(waiting), _TOGETHER)):
            if time.monotonic() - start > seconds:
                return
            jobs = {
                (layer, direction, name): pool.submit(
                    _compiled, function, shapes, calls_per_program(layer, sample)
                )
                for layer in chunk
                for direction in directions(layer)
                for name, (function, shapes) in spellings(layer, direction).items()
            }
            made = {key: job.result() for key, job in jobs.items()}  # nothing is compiled while something is timed
            for layer in chunk:
                programs = {key[1:]: program for key, program in made.items() if key[0] == layer}
                for row in _rows_of(layer, programs, calls_per_program(layer, sample), sample):
                    yield {**_named(layer), "recipes": found[layer], **row}


def _named(layer: Layer) -> dict[str, Any]:
    shapes = {"kind": layer.kind, "x": layer.x, "kernel": layer.kernel}
    return {**shapes, "settings": layer.arguments, "flops": layer.flops}


def winner(rows: Sequence[dict[str, Any]]) -> str:
    """Returns a line about the rows of one layer and direction: the fastest first, each with its median."""
    timed = sorted((row for row in rows if "us_median" in row), key=lambda row: row["us_median"])
    times = ", ".join(f"{row['spelling']} {row['us_median']:.1f} us" for row in timed) or "nothing ran"
    speed = f", {timed[0]['tflops']:.1f} TFLOP/s" if timed and timed[0]["tflops"] else ""
    first = rows[0]
    shapes = "x".join(map(str, first["x"])), "x".join(map(str, first["kernel"]))
    groups = f" groups {first['settings']['groups']}" if "groups" in first["settings"] else ""
    notes = "".join(f"; {row['spelling']}: {row['note']}" for row in rows if "note" in row)
    return f"{first['kind']} {shapes[0]} by {shapes[1]}{groups}, {first['direction']}: {times}{speed}{notes}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.formulations", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--recipe", action="append", choices=RECIPES, help="default: all")
    parser.add_argument("--seconds", type=float, default=90.0, help="start no new layer after so many seconds")
    parser.add_argument("--toy", action="store_true", help="four tiny layers, to see that the command runs")
    parser.add_argument("--json", type=Path, required=True, help="gets one line for each row")
    parsed = parser.parse_args(arguments)
    found = TOY if parsed.toy else layers(parsed.recipe or RECIPES, parsed.batch)
    where = machine.described()
    groups: dict[tuple, list[dict]] = defaultdict(list)
    parsed.json.parent.mkdir(parents=True, exist_ok=True)
    with parsed.json.open("w") as file:
        for row in measure(found, parsed.seconds, sample=0.001 if parsed.toy else 0.005):
            stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            whole = {"suite": "formulations", **row, "dtype": "bfloat16", **where, "time": stamp}
            file.write(json.dumps(whole) + "\n")
            file.flush()
            layer = json.dumps([row[name] for name in ("kind", "x", "kernel", "settings")])
            groups[layer, row["direction"]].append(row)
    for rows in groups.values():
        print(winner(rows))
    measured = len({layer for layer, _ in groups})
    print(f"{measured} of {len(found)} layers; for the others there was no time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
