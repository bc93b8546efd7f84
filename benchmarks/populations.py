"""Measures when one program for all members of a sweep pays: `python -m benchmarks.populations`.

Each row is a case with N members that differ in the weight of R1: milliseconds of a step of one member alone and
of all together (both alternate), and the seconds to compile each. So n steps cost a member `compile + n ms` alone,
and `(compile + n ms) / N` together. Both read one batch that lies on the device.

`--sweep` runs the whole sweep of R1's weight on the recipe `digits` by `gan-jax sweep`, in one program and one
after another, each with an empty cache of programs, and keeps the seconds and the scores of all members.

It writes results/populations.jsonl and the tables in docs/sweeps.md.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np

import gan_jax
from gan_jax.config import Call, Config, Term
from gan_jax.config.build import SampleSpec, batch_spec, make_gan
from gan_jax.runtime.placement import Placement
from gan_jax.step.meter import Carry
from gan_jax.sweep.grid import make_members, read_axes
from gan_jax.sweep.program import PopulationPrograms
from gan_jax.sweep.record import read as read_sweep
from gan_jax.sweep.record import scores
from gan_jax.sweep.together import for_one_device
from gan_jax.targets import traced_flops
from gan_jax.train.shapes import carry_shapes

from . import machine, table
from .runners import repeat
from .timing import interleaved

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "populations.jsonl"
PAGE = ROOT / "docs" / "sweeps.md"
STEPS = 1000  # of which the table says the seconds
WEIGHTS = (0.1, 0.3, 1, 3, 10, 30, 100, 300)
_WEIGHT = "discriminator_terms.0.weight"
_SMALL_R3GAN = {"widths": (32, 32, 32, 32), "cardinality": 4, "blocks": 1}


def _case(
    shape: tuple[int, ...], network: Call, batch: int, critic: Call | None = None
) -> tuple[Config, SampleSpec]:
    config = Config(
        name="populations", batch=batch, generator=network, discriminator=critic or network,
        latent=Call("normal", size=64), discriminator_terms=(Term(1.0, Call("r1")),),
    )  # fmt: skip
    return config, SampleSpec(shape, "uint8", None)


CASES = {
    "mlp": _case((16, 16, 1), Call("mlp", width=64), 64),
    "dcgan16": _case((16, 16, 1), Call("dcgan", width=32), 64, Call("dcgan", width=32, norm="none")),
    "dcgan32": _case((32, 32, 3), Call("dcgan", width=32), 32, Call("dcgan", width=32, norm="none")),
    "r3gan32": _case((32, 32, 3), Call("r3gan", **_SMALL_R3GAN), 16),
}


class _Program(NamedTuple):
    """A compiled step: what makes n calls, the seconds to compile, and the FLOPs of one member's step."""

    run: Callable[[int], None]
    compile_s: float
    flops: float


def _alone(name: str) -> _Program:
    """Compiles the plain step of one member."""
    config, spec = CASES[name]
    gan = make_gan(config, spec)
    shapes = batch_spec(config, gan, spec)
    state = jax.jit(lambda key: gan_jax.init(gan, key, shapes))(jax.random.key(0))
    traced = gan_jax.jit_step(gan_jax.make_train_step(gan)).trace(state, shapes)
    begin = time.perf_counter()
    program = traced.lower().compile()
    run = repeat(lambda state, batch: program(state, batch, ()), state, lambda: _batch(shapes))
    return _Program(run, time.perf_counter() - begin, traced_flops(traced.jaxpr))


def _together(name: str, count: int) -> _Program:
    """Compiles one step of `count` members."""
    config, spec = CASES[name]
    values = ",".join(str(value) for value in np.geomspace(0.1, 10, count).round(4))
    members = [
        for_one_device(one.config) for one in make_members(config, *read_axes(config, [f"{_WEIGHT}={values}"]))
    ]
    gan = make_gan(members[0], spec)
    one: Any = SimpleNamespace(shapes=carry_shapes(members[0], gan, spec))
    programs = PopulationPrograms(members, one, spec, Placement(members[0]), resident=False)
    shapes = batch_spec(members[0], gan, spec)
    carry = Carry(programs.make_state(programs.key), programs.empty_meter())
    begin = time.perf_counter()
    program = programs.lower(shapes, ()).compile()
    run = repeat(lambda carry, batch: program(carry, batch, (programs.numbers,)), carry, lambda: _batch(shapes))
    return _Program(run, time.perf_counter() - begin, 0.0)


@functools.cache
def _image(shape: tuple[int, ...]) -> jax.Array:
    return jax.random.randint(jax.random.key(0), shape, 0, 256).astype(np.uint8)


def _batch(shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    return {"image": _image(shapes["image"].shape)}


def steps(name: str, counts: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Returns a record for each number of members; the first one is of a member alone, by the plain step."""
    programs = {1: _alone(name)}
    for count in counts:
        programs[count] = _together(name, count)
        print(f"{name}, {count} members: compiled in {programs[count].compile_s:.1f} s", flush=True)
    samples = interleaved({str(count): one.run for count, one in programs.items()}, rounds)
    return [
        {
            "table": "step", "case": name, "batch": CASES[name][0].batch, "members": count,
            "flops": programs[1].flops, "compile_s": one.compile_s, "ms": samples[str(count)].median,
            "ms_least": samples[str(count)].least, "ms_most": samples[str(count)].most,
            "rounds": samples[str(count)].count,
        }
        for count, one in programs.items()
    ]  # fmt: skip


def sweeps(words: Sequence[str]) -> list[dict[str, Any]]:
    """Returns a record for each way to train the sweep of R1's weight on `digits`: seconds, and the scores."""
    records = []
    weights = ",".join(f"{weight:g}" for weight in WEIGHTS)
    for mode in ("vmap", "processes"):
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder) / "sweep"
            command = [sys.executable, "-m", "gan_jax", "sweep", "digits", f"{_WEIGHT}={weights}", *words]
            begin = time.perf_counter()
            subprocess.run(
                [*command, "--members", mode, "--workdir", str(workdir)], check=True, cwd=ROOT,
                env={**os.environ, "GAN_JAX_CACHE": str(Path(folder) / "cache")},
            )  # fmt: skip
            seconds, content = time.perf_counter() - begin, read_sweep(workdir)
            assert content is not None
            found = {name: scores(workdir, name, content["by"]) for name in content["members"]}
            last = {name: values[max(values)] for name, values in found.items() if values}
            records.append({
                "table": "sweep", "case": "digits", "mode": mode, "words": list(words), "seconds": seconds,
                "members": len(found), "by": content["by"], "scores": last,
                "best": min(last, key=last.__getitem__),
                "lost": sorted(content["lost"]),
            })  # fmt: skip
    return records


def tables(records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Returns the tables in Markdown, by name."""
    rows = [one for one in records if one["table"] == "step"]
    alone = {one["case"]: one for one in rows if one["members"] == 1}
    heads = (
        "case",
        "batch",
        "GFLOPs",
        "members",
        "ms a step and member",
        "alone",
        "faster",
        f"s for {STEPS} steps",
        "alone",
    )
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for one in rows:
        count, plain = one["members"], alone[one["case"]]
        if count == 1:
            continue
        each, seconds = one["ms"] / count, (one["compile_s"] + STEPS * one["ms"] / 1000) / count
        before = plain["compile_s"] + STEPS * plain["ms"] / 1000
        spread = f"[{one['ms_least'] / count:.3g}, {one['ms_most'] / count:.3g}]"
        cells = (
            one["case"], one["batch"], f"{one['flops'] / 1e9:.2f}", count, f"{each:.3g} {spread}",
            f"{plain['ms']:.3g}", f"{plain['ms'] / each:.2f}", f"{seconds:.1f}", f"{before:.1f}",
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    whole = ["| overrides | members | seconds | best | scores |", "|---" * 5 + "|"]
    for one in (record for record in records if record["table"] == "sweep"):
        listed = ", ".join(f"{name.partition('=')[2]}: {score:.4g}" for name, score in one["scores"].items())
        words = " ".join(one["words"])
        whole.append(f"| {words} | {one['mode']} | {one['seconds']:.0f} | {one['best']} | {listed} |")
    return {"populations": "\n".join(lines), "population_sweeps": "\n".join(whole)}


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), help="default: all")
    parser.add_argument("--members", default="2,4,8,16", help="numbers of members (2,4,8,16)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--sweep", nargs="*", metavar="key=value", help="only the sweep of digits, with these overrides"
    )
    parser.add_argument("--toy", action="store_true", help="try it: write nothing")
    arguments = parser.parse_args()
    kept, found = read(), []
    if arguments.sweep is not None:
        found += sweeps(arguments.sweep)
        kept = [one for one in kept if one["table"] != "sweep" or one["words"] != arguments.sweep]
    else:
        counts = [int(count) for count in arguments.members.split(",")]
        for name in arguments.cases:
            found += steps(name, counts, arguments.rounds)
        kept = [one for one in kept if one["table"] != "step" or one["case"] not in arguments.cases]
    records = kept + [one | machine.described() for one in found]
    print("\n\n".join(tables(records).values()))
    if not arguments.toy:
        RESULTS.write_text("".join(json.dumps(one) + "\n" for one in records))
        for name, text in tables(records).items():
            table.update(PAGE, name, text)


if __name__ == "__main__":
    main()
