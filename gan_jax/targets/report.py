"""Describes a program as text and as JSON."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from .chips import EFFORT, EFFORTS, Target
from .kernels import Kernel
from .program import Memory, Program

LARGE = 2**20  # bytes of a feature map that is worth a line


def summary(program: Program, *, steps: int = 1, images: int | None = None) -> dict[str, Any]:
    """Returns what is known of a program, for JSON. Kernels, FLOPs and bytes are those of a step on one device.

    Args:
        program: which makes `steps` steps in one call.
        steps: of one call.
        images: of one step, over all devices.
    """
    devices, bounds = len(program.target.devices), program.bounds
    model, compiled = program.model_flops / steps, program.flops * devices / steps
    return {
        "target": program.target.name,
        "chip": program.target.chip.name,
        "devices": devices,
        "compile_seconds": round(program.compile_seconds, 1),
        "options": dict(program.options),
        "memory": memory(program.memory, program.target),
        "flops": {
            "model_step": model,
            "model_image": None if images is None else model / images,
            "program_step": compiled,  # over all devices
            "program_of_model": compiled / model if model else None,
            "compiler_call_device": program.compiler_flops,
        },
        "kernels": _counts(program.kernels, steps),
        "collectives": {
            kind: {"count": one.count / steps, "bytes": one.bytes / steps, "largest": one.largest}
            for kind, one in program.collectives.items()
        },
        "products": _products(program, steps),
        "slow_convolutions": len(program.slow),
        "moves": [
            {"kernel": k.name, "count": k.count / steps, "array": str(k.moved), "op_name": k.op_name}
            for k in program.moves(LARGE)
        ],
        "bytes": program.bytes / steps,
        "bounds_seconds": {name: value / steps for name, value in bounds._asdict().items()},
        "rates": {"flops": dict(program.target.chip.rates), "bytes": program.target.chip.bandwidth,
                  "source": program.target.chip.source},
    }  # fmt: skip


def memory(used: Memory, target: Target) -> dict[str, Any]:
    """Returns bytes of a device, and whether they fit; "by_default" is what JAX takes of the device's memory."""
    available = target.chip.memory
    return {
        "by_default": (0.75 if target.platform == "cuda" else 1.0) * available,
        "state": used.state, "batch": used.batch, "temporaries": used.temporaries, "needed": used.needed,
        "available": available, "fits": used.needed <= available,
    }  # fmt: skip


def _counts(kernels: list[Kernel], steps: int) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for kernel in kernels:
        counts[library(kernel)] += kernel.count
    return {kind: count / steps for kind, count in counts.most_common() if count}


def library(kernel: Kernel) -> str:
    """Returns the kind of a kernel, with the library that has it."""
    found = re.match(r"cu(blas|dnn)|conv(?=[A-Z])|triton", kernel.call)
    name = {"cublas": "cuBLAS", "conv": "cuDNN", "cudnn": "cuDNN", "triton": "Triton"}.get(
        found[0] if found else ""
    )
    return f"{kernel.kind} ({name})" if name else kernel.kind


def _products(program: Program, steps: int) -> list[dict[str, Any]]:
    """Returns the matrix products and convolutions; those that are alike are one entry."""
    counts: Counter[tuple] = Counter()
    for count, p in program.products:
        counts[p.kind, p.call, p.shapes, p.groups, p.flops, p.slow] += count
    names = ("kind", "call", "shapes", "groups", "flops", "slow")
    return [{**dict(zip(names, key)), "count": count / steps} for key, count in counts.items()]


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of what `summary` returned."""
    used, flops, bounds = facts["memory"], facts["flops"], facts["bounds_seconds"]
    yield f"target {facts['target']}: {facts['devices']} x {facts['chip']}"
    words = {"state": "state", "batch": "batch and resident data", "temporaries": "temporaries"}
    parts = ", ".join(f"{word} {size(used[name])}" for name, word in words.items())
    yield f"  memory of a device: {size(used['needed'])} ({parts}): {_fits(used)}"
    if facts["options"].get(EFFORT, EFFORTS["O2"]) < EFFORTS["O2"]:
        yield "  compiled with less effort than JAX's default, which makes another program, with less traffic"
    image = "" if flops["model_image"] is None else f", {count(flops['model_image'])}FLOP an image"
    share = "" if flops["program_of_model"] is None else f" ({flops['program_of_model']:.1%} of the model's)"
    together = " over all devices" if facts["devices"] > 1 else ""
    yield f"  a step: {count(flops['model_step'])}FLOP of the model{image}"
    yield f"  in the compiled program: {count(flops['program_step'])}FLOP{share}{together}"
    yield "  of one device and step:"
    total = sum(facts["kernels"].values())
    kinds = ", ".join(f"{number:g} {kind}" for kind, number in facts["kernels"].items())
    yield f"    {total:g} kernels: {kinds}"
    if facts["devices"] > 1:
        yield "    collectives: " + (
            "; ".join(f"{one['count']:g} {kind}, {size(one['bytes'])}, the largest {one['largest']}"
                      for kind, one in facts["collectives"].items()) or "none"
        )  # fmt: skip
    for product in facts["products"]:
        if product["kind"] == "convolution":
            groups = f", {product['groups']} groups" if product["groups"] > 1 else ""
            slow = f"; slow: {product['slow']}" if product["slow"] else ""
            yield f"    {product['count']:g} x {product['call']} {product['shapes']}{groups}{slow}"
    yield f"    slow convolutions: {facts['slow_convolutions']}"
    yield f"    transposes and copies of at least {size(LARGE)}: {len(facts['moves'])}"
    for move in facts["moves"]:
        yield f"      {move['count']:g} x {move['array']} ({move['kernel']}) {move['op_name']}"
    yield f"    traffic: {count(facts['bytes'])}B"
    least = {name: milliseconds(seconds) for name, seconds in bounds.items()}
    yield (
        f"    lower bounds of the time, not a prediction: arithmetic {least['arithmetic']}, traffic "
        f"{least['traffic']}, sum over the kernels of the larger of both {least['kernels']}"
    )


def _fits(used: dict[str, Any]) -> str:
    available = f"{used['available'] / 1e9:g} GB"
    if not used["fits"]:
        return f"does not fit in {available}"
    if used["needed"] > used["by_default"]:
        return f"fits in {available}, if XLA_PYTHON_CLIENT_MEM_FRACTION gives JAX more than three quarters of it"
    return f"fits in {available}"


def size(number: float) -> str:
    """Returns bytes as text, such as "1.5 GiB"."""
    return f"{number / 2**30:,.2f} GiB" if number >= 2**30 else f"{number / 2**20:,.2f} MiB"


def count(number: float) -> str:
    """Returns a number as text with the prefix of its unit, such as "1.50 T"."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= scale:
            return f"{number / scale:,.2f} {prefix}"
    return f"{number / 1e3:,.2f} k"


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"
