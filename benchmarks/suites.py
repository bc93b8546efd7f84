"""The suites: which variants are timed together. Each suite yields a `Row` as soon as it is measured."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import jax

from . import parts, processes
from .cases import CASES, Case
from .peers import parity
from .runners import PEERS, Runner, ours, peer, unavailable
from .timing import Sample, interleaved


class Row(NamedTuple):
    """One figure: what was timed, and how.

    Attributes:
        sample: milliseconds of one step, or of one call of a part; None if not measured, and then `note` says why.
    """

    suite: str
    case: str
    implementation: str
    mode: str
    batch: int
    runner: Runner
    sample: Sample | None
    precision: str = "float32"
    devices: int = 1
    note: str = ""


def _timed(variants: Mapping[str, Runner], rounds: int, seconds: float = 0.5) -> dict[str, Sample]:
    """Times the variants interleaved; returns samples of one step each."""
    samples = interleaved({name: runner.run for name, runner in variants.items()}, rounds, seconds)
    return {name: _divide(sample, variants[name].steps) for name, sample in samples.items()}


def _divide(sample: Sample, steps: int) -> Sample:
    return Sample(sample.median / steps, sample.least / steps, sample.most / steps, sample.count)


def peers(
    cases: Iterable[Case],
    rounds: int,
    precisions: Iterable[str] = ("float32",),
    *,
    check: bool = True,
    seconds: float = 0.5,
) -> Iterator[Row]:
    """Times gan_jax against its peers. With `check` it first makes sure that all of them compute the same step."""
    for case in cases:
        if check:
            parity.check(case)
        for precision in precisions:
            variants, missing = _variants(case, precision)
            try:
                samples = _timed(variants, rounds, seconds) if variants else {}
            except RuntimeError as error:  # each fits alone, but not all of them beside each other
                missing |= dict.fromkeys(variants, _not_measured(error))
                samples = {}
            flops = variants["jit"].flops if "jit" in variants else None
            for name, sample in samples.items():
                runner = dataclasses.replace(variants[name], flops=flops)
                yield Row("peers", case.name, *_ours_or_peer(name), case.batch, runner, sample, precision)
            for name, note in missing.items():
                runner = Runner(lambda n: None)
                yield Row("peers", case.name, *_ours_or_peer(name), case.batch, runner, None, precision, note=note)


def _ours_or_peer(name: str) -> tuple[str, str]:
    """Returns implementation and mode."""
    return ("gan_jax", name) if name in ("jit", "fused") else (name, "")


def _variants(case: Case, precision: str) -> tuple[dict[str, Runner], dict[str, str]]:
    """Returns the runners of gan_jax and its peers, and why others are missing."""
    makers: dict[str, Callable[[], Runner]] = {"jit": lambda: ours(case, precision=precision)}
    if case.fuse > 1:
        makers["fused"] = lambda: ours(case, fuse=case.fuse, precision=precision)
    missing: dict[str, str] = {}
    for name in PEERS:
        if reason := unavailable(case, name, precision):
            missing[name] = f"not measured: {reason}"
        else:
            makers[name] = functools.partial(peer, case, name, precision=precision)
    variants: dict[str, Runner] = {}
    for name, make in makers.items():
        try:
            variants[name] = make()
        except RuntimeError as error:  # compilation failed or memory ran out: still time the others
            missing[name] = _not_measured(error)
    return variants, missing


def _not_measured(error: RuntimeError) -> str:
    return f"not measured: {(str(error).splitlines() or [repr(error)])[0][:120]}"


def modes(cases: Iterable[Case], rounds: int) -> Iterator[Row]:
    """Times the modes of a step on one device."""
    for case in cases:
        variants = {mode: ours(case, mode) for mode in ("jit", "shard", "pmap")}
        variants["fused"] = ours(case, fuse=case.fuse)
        yield from _rows("modes", case, variants, rounds)


def dispatch(rounds: int) -> Iterator[Row]:
    """Times a tiny GAN, which shows what a step costs apart from its arithmetic."""
    variants = {mode: parts.tiny(mode) for mode in ("jit", "shard", "pmap")}
    variants |= {f"fused {k}": parts.tiny(fuse=k) for k in (2, 5, 10, 50)}
    for name, sample in _timed(variants, rounds).items():
        yield Row("dispatch", "tiny32", "gan_jax", name, 16, variants[name], sample)


def _rows(
    suite: str, case: Case, variants: Mapping[str, Runner], rounds: int, precision: str = "float32"
) -> Iterator[Row]:
    for name, sample in _timed(variants, rounds).items():
        yield Row(suite, case.name, "gan_jax", name, case.batch, variants[name], sample, precision)


def updates(cases: Iterable[Case], rounds: int) -> Iterator[Row]:
    """Times the ways to update both players; "one_stage" only without batch norm, which it does not support."""
    for case in cases:
        names = ["alternating", "simultaneous"] + ([] if case.name.startswith("dcgan") else ["one_stage"])
        yield from _rows("updates", case, {name: ours(case, update=name) for name in names}, rounds)


def sweep(cases: Iterable[Case], batches: Iterable[int], precisions: Iterable[str], rounds: int) -> Iterator[Row]:
    """Times batch sizes and precisions."""
    for case in cases:
        for batch in batches:
            sized = dataclasses.replace(case, batch=batch)
            variants = {precision: ours(sized, precision=precision) for precision in precisions}
            for precision, sample in _timed(variants, rounds).items():
                yield Row("sweep", case.name, "gan_jax", "jit", batch, variants[precision], sample, precision)


def split(cases: Iterable[Case], rounds: int) -> Iterator[Row]:
    """Times each player's update alone."""
    for case in cases:
        yield from _rows("split", case, parts.player_updates(case), rounds)


def convolutions(rounds: int) -> Iterator[Row]:
    """Times a convolution and its transpose, which do the same arithmetic, with their gradients."""
    variants = parts.convolutions()
    for name, sample in _timed(variants, rounds).items():
        yield Row("convolutions", "k4s2 32x32x64-128", "gan_jax", name, 64, variants[name], sample)


def operators(rounds: int) -> Iterator[Row]:
    """Times DCGAN-64's convolutions and a residual network's from and to 3 channels, also in PyTorch."""
    strided = [(4, 2, size, i, o) for size, i, o in ((64, 3, 64), (32, 64, 128), (16, 128, 256), (8, 256, 512))]
    for kernel, stride, size, i, o in [*strided, (3, 1, 32, 3, 128), (3, 1, 32, 128, 3)]:
        variants = parts.operators(kernel, stride, size, i, o)
        names = {f"{name}/{part}": runner for name, group in variants.items() for part, runner in group.items()}
        for name, sample in _timed(names, rounds, seconds=0.1).items():
            implementation, part = name.split("/")
            case = f"k{kernel}s{stride} {size}x{size}x{i}-{o}"
            yield Row("operators", case, implementation, part, parts.BATCH, names[name], sample)


def feeding(case: Case, rounds: int) -> Iterator[Row]:
    """Times the input: the gather of a batch alone, and a step with a ready batch beside a step fed from files."""
    step, gather = ours(case), parts.gather(case)
    with parts.streamed(case) as streamed:
        variants = {"step": step, "step, streamed jpeg": streamed, "gather": gather}
        yield from _rows("feeding", case, variants, rounds)


def startup(rounds: int) -> Iterator[Row]:
    """Times the start of `gan-jax train` on the recipe `digits`, until its first step."""
    for name, sample in processes.starts(rounds).items():
        yield Row("startup", "digits", "gan_jax", name, 64, Runner(lambda n: None), sample)


def scaling(case: Case, rounds: int) -> Iterator[Row]:
    """Times a fixed batch over more devices (strong scaling) and a batch that grows with them (weak scaling).

    Virtual devices share one CPU, so their figures do not show the speed of real devices.
    """
    count = jax.device_count() if jax.default_backend() != "cpu" else 4
    for devices in (n for n in (1, 2, 4, 8) if n <= count):
        for batch in dict.fromkeys((case.batch, case.batch * devices)):
            for mode, runner, sample in processes.scaling(case.name, batch, devices, rounds):
                yield Row("scaling", case.name, "gan_jax", mode, batch, runner, sample, devices=devices)


def run(
    suite: str,
    only: Iterable[str] = (),
    cases: Iterable[str] = (),
    rounds: int = 0,
    batch: int = 0,
    precision: str = "",
) -> Iterator[Row]:
    """Runs the suites of "quick" (two small cases) or "full"; yields their rows.

    Args:
        only: names of the suites to run, such as "peers"; empty: all.
        cases: names of the cases; empty: the default of each suite.
        rounds: samples of each variant, at least 5; 0: 5 in "quick", 7 in "full".
        batch: batch size of every case; 0: each case's own.
        precision: "float32" or "bfloat16"; empty: both, or only float32 on a CPU.

    Raises:
        ValueError: a suite or a case does not exist.
    """
    full = suite == "full"
    other = "accelerator" if jax.default_backend() == "cpu" else "cpu"
    every = tuple(case.name for case in CASES.values() if case.on != other)
    names = tuple(cases) or (every if full else ("mlp28", "dcgan32"))
    for name in names:
        if name not in CASES:
            raise ValueError(f"no case {name!r}: there are {', '.join(CASES)}")
    chosen = [dataclasses.replace(CASES[name], batch=batch or CASES[name].batch) for name in names]
    rounds = rounds or (7 if full else 5)
    dcgans = chosen if cases else [case for case in chosen if case.name.startswith("dcgan")]
    both = ("float32", "bfloat16") if jax.default_backend() != "cpu" else ("float32",)
    precisions = (precision,) if precision else both
    suites = {
        "peers": lambda: peers(chosen, rounds, precisions),
        "modes": lambda: modes(dcgans, rounds),
        "dispatch": lambda: dispatch(rounds),
        "convolutions": lambda: convolutions(rounds),
    }
    if full:
        suites |= {
            "updates": lambda: updates(chosen, rounds),
            "split": lambda: split(chosen, rounds),
            "sweep": lambda: sweep(chosen if cases else chosen[:2], (16, 64, 256), precisions, rounds),
            "operators": lambda: operators(rounds),
            "startup": lambda: startup(rounds),
            "scaling": lambda: scaling(CASES["mlp28"], rounds),
            "feeding": lambda: feeding(CASES["dcgan64"], rounds),
        }
    unknown = set(only) - set(suites)
    if unknown:
        raise ValueError(f"no suite {sorted(unknown)[0]!r} in {suite}: there are {', '.join(suites)}")
    for name, rows in suites.items():
        if not only or name in only:
            yield from rows()
