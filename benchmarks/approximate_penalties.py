"""Measures what R1 and R2 cost, by derivatives and by differences: `python -m benchmarks.approximate_penalties`.

Each row is the whole training step of a case with one choice of penalties: milliseconds (the variants of a case
alternate), FLOPs of the matrix products and convolutions in its trace, the compiler's count of all FLOPs, and
memory. A second table compares the values: `r1`, which is exact, beside the mean of `r1_approx` over 64 draws,
with the discriminator in float32 and in bfloat16.

It writes results/approximate_penalties.jsonl and the tables in docs/performance_notes.md.
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import gan_jax
from gan_jax import penalties
from gan_jax.models import r3gan
from gan_jax.networks import call_network
from gan_jax.targets import traced_flops
from gan_jax.types import Samples

from . import cases, machine, table
from .cases import init
from .runners import make_step, needed_memory, repeat
from .timing import interleaved

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "approximate_penalties.jsonl"
PAGE = ROOT / "docs" / "performance_notes.md"
SIZES: dict[str, Any] = {"widths": (64, 64, 64, 64), "cardinality": 4, "blocks": 1}
CASES = {
    "dcgan32": dataclasses.replace(cases.CASES["dcgan32"], batch=32),
    "r3gan32": dataclasses.replace(
        cases.CASES["r3gan64_quarter"], name="r3gan32", batch=16, shape=(32, 32, 3), gamma=0.0,
        networks=lambda dtype: (
            r3gan.Generator(shape=(32, 32, 3), dtype=dtype, **SIZES), r3gan.Discriminator(dtype=dtype, **SIZES)
        ),
    ),
}  # fmt: skip
TERMS = {
    "none": (),
    "r1": (penalties.r1(),),
    "r1_approx": (penalties.r1_approx(),),
    "r1_approx, a quarter": (penalties.r1_approx(share=1 / 4),),
    "r1 and r2": (penalties.r1_r2(),),
    "r1_approx and r2_approx": (penalties.r1_approx(), penalties.r2_approx()),
}
DRAWS = 64
_MISSING = "not measured"


def costs(name: str, rounds: int) -> list[dict[str, Any]]:
    """Returns a record for each choice of penalties: what a training step costs; without rounds, FLOPs alone."""
    case, records, runs = CASES[name], [], {}
    for variant, chosen in TERMS.items():
        gan = case.gan(discriminator_terms=tuple(gan_jax.Term(0.1, penalty) for penalty in chosen))
        step, _ = make_step(gan, "jit")
        batch = {"image": case.images(case.batch)}
        traced = step.trace(
            jax.eval_shape(lambda gan=gan, batch=batch: gan_jax.init(gan, jax.random.key(0), batch)), batch
        )
        records.append({
            "table": "cost", "case": name, "batch": case.batch, "variant": variant,
            "flops": traced_flops(traced.jaxpr),
        })  # fmt: skip
        if rounds:
            compiled = traced.lower().compile()
            analysis = compiled.cost_analysis() or {}
            records[-1] |= {"compiled_flops": analysis.get("flops"), "memory_bytes": needed_memory(compiled)}
            step = lambda state, batch, compiled=compiled: compiled(state, batch, ())  # noqa: E731
            batch = jax.device_put(batch)
            runs[variant] = repeat(step, init(case, gan), lambda batch=batch: batch)
        print(f"{name}, {variant}: {records[-1]}", flush=True)
    for record, sample in zip(records, interleaved(runs, rounds).values()):
        record |= {"ms": sample.median, "ms_least": sample.least, "ms_most": sample.most, "rounds": sample.count}
    return records


def values(name: str) -> list[dict[str, Any]]:
    """Returns a record for each type and scale: `r1`, and the mean of `r1_approx` over `DRAWS` draws."""
    case, records = CASES[name], []
    image = jnp.asarray(case.images(case.batch), jnp.float32) / 127.5 - 1
    for dtype in ("float32", "bfloat16"):
        gan = case.gan(dtype)
        network, player = gan.discriminator, init(case, gan).discriminator

        def value(penalty: Any, key: jax.Array, player: Any, network: Any = network) -> jax.Array:
            def critic(samples: Samples) -> jax.Array:
                extra = {"axis_name": None, "keys": samples.key}
                output, _ = call_network(network, player.params, player.model_state, samples.image, **extra)
                return output.astype(jnp.float32)

            keys = jax.random.split(key, case.batch)
            real = Samples(image, None, keys)
            return penalty.apply((), critic, real, real, keys)[0]

        exact = jax.jit(functools.partial(value, penalties.r1()))(jax.random.key(0), player)
        for scale in (0.01, 0.1):
            one = jax.jit(functools.partial(value, penalties.r1_approx(scale)))
            found = jnp.stack([one(key, player) for key in jax.random.split(jax.random.key(2), DRAWS)])
            error = float(jnp.std(found)) / DRAWS**0.5
            records.append({
                "table": "value", "case": name, "dtype": dtype, "scale": scale,
                "r1": float(exact), "r1_approx": float(jnp.mean(found)), "standard_error": error,
            })  # fmt: skip
    return records


def tables(records: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Returns the two tables in Markdown, by name."""
    records = list(records)
    cost = ["| case | batch | penalties | ms [min, max] | GFLOPs | compiler's count | MB |", "|---" * 7 + "|"]
    for one in (record for record in records if record["table"] == "cost"):
        time = f"{one['ms']:.0f} [{one['ms_least']:.0f}, {one['ms_most']:.0f}]" if "ms" in one else _MISSING
        sizes = (("flops", 1e9, 2), ("compiled_flops", 1e9, 2), ("memory_bytes", 1e6, 0))
        shown = (f"{one[name] / unit:.{digits}f}" if name in one else _MISSING for name, unit, digits in sizes)
        cost.append(f"| {one['case']} | {one['batch']} | {one['variant']} | {time} | {' | '.join(shown)} |")
    value = ["| case | type | s | r1 | r1_approx |", "|---" * 5 + "|"]
    for one in (record for record in records if record["table"] == "value"):
        approx = f"{one['r1_approx']:.3g} ± {one['standard_error']:.1g}"
        value.append(f"| {one['case']} | {one['dtype']} | {one['scale']} | {one['r1']:.3g} | {approx} |")
    return {"approximate_penalties": "\n".join(cost), "approximate_values": "\n".join(value)}


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def write_page() -> None:
    for name, text in tables(read()).items():
        table.update(PAGE, name, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), help="default: all")
    parser.add_argument("--rounds", type=int, default=7, help="0: neither compiles nor times")
    arguments = parser.parse_args()
    for name in arguments.cases:
        about = machine.described()
        found = [one | about for one in (*costs(name, arguments.rounds), *values(name))]
        records = [one for one in read() if one["case"] != name] + found
        RESULTS.write_text("".join(json.dumps(one) + "\n" for one in records))
        write_page()


if __name__ == "__main__":
    main()
