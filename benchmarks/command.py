"""`gan-jax benchmark`: run suites, print a line a figure, keep them as JSON lines and pictures."""

import contextlib
import difflib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from . import machine, plot, records, suites
from .cases import CASES

_QUICK = ("peers", "modes", "dispatch", "convolutions")
_FULL = ("updates", "split", "sweep", "operators", "startup", "scaling", "feeding")
SUITES = {"quick": _QUICK, "full": (*_QUICK, *_FULL)}
"""The names that `suites.run` takes as `only`."""


def benchmark(
    suite: str = "quick",
    *,
    json: Path | None = None,
    plots: Path | None = None,
    only: Sequence[str] = (),
    cases: Sequence[str] = (),
    rounds: int = 0,
    batch: int = 0,
    precision: str = "",
) -> list[records.Record]:
    """Run "quick" or "full"; see `suites.run`. Each figure is written as soon as it is there.

    Raises:
        ValueError: no such suite or case, too few rounds, or plots without matplotlib.
    """
    _check_names(suite, only, cases)
    if rounds and rounds < 5:
        raise ValueError(f"--rounds={rounds}: a median of fewer than 5 samples says little")
    if plots is not None and not importlib.util.find_spec("matplotlib"):
        raise ValueError("--plots needs matplotlib: pip install 'gan_jax[benchmark]'")
    with _no_compilation_cache():
        return _measured(
            suite, json, plots, only=only, cases=cases, rounds=rounds, batch=batch, precision=precision
        )


def _check_names(suite: str, only: Sequence[str], cases: Sequence[str]) -> None:
    """Before the machine is measured, which takes a while."""
    for name in cases:
        if name not in CASES:
            raise ValueError(f"no case {name!r}: {_near(name, CASES)}there are {', '.join(CASES)}")
    known = SUITES[suite]
    for name in only:
        if name not in known:
            hint = "add --suite full; here " if name in SUITES["full"] else _near(name, known)
            raise ValueError(f"no suite {name!r} in {suite}: {hint}there are {', '.join(known)}")


def _near(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=2, cutoff=0.75)
    return f"did you mean {' or '.join(close)}? " if close else ""


@contextlib.contextmanager
def _no_compilation_cache() -> Iterator[None]:
    """Seconds to compile are not seconds to read a file; what the process does later is its own affair."""
    name = "jax_enable_compilation_cache"
    before = getattr(jax.config, name)
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _measured(suite: str, json: Path | None, plots: Path | None, **chosen: Any) -> list[records.Record]:
    here = machine.measure()
    products = ", ".join(f"{name} {speed:,.0f} GFLOP/s" for name, speed in here.gflops.items())
    print(f"{here.device}: matrix product {products}; copy {here.copy_gbs:.1f} GB/s", flush=True)
    found = []
    for row in suites.run(suite, **chosen):
        found.append(records.record(row, here))
        print(_line(found[-1]), flush=True)
        if json is not None:
            records.write(json, found[-1:])
    if plots is not None:
        for name in dict.fromkeys(one.suite for one in found):
            plot.plot([one for one in found if one.suite == name], plots / f"{name}.png")
    return found


def _line(one: records.Record) -> str:
    name = " ".join(str(p) for p in (one.suite, one.case, one.implementation, one.mode, one.precision) if p)
    if one.step_ms_median is None:
        return f"{name:62} {one.note}"
    peak = f"  {one.peak_fraction:.0%} of peak" if one.peak_fraction else ""
    spread = f"[{one.step_ms_min:.3f}, {one.step_ms_max:.3f}]"
    return f"{name:62} {one.step_ms_median:10.3f} ms {spread:24} {one.images_per_second:12,.0f} images/s{peak}"
