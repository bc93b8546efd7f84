"""The command `gan-jax benchmark`: runs suites, prints one line per figure, writes JSON lines and charts."""

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
"""The names of suites in each set; `suites.run` takes them as `only`."""


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
    """Runs the suites of "quick" or "full" (arguments: see `suites.run`); writes each figure once it is measured.

    Raises:
        ValueError: a suite or a case does not exist, there are too few rounds, or `plots` is given without
            matplotlib installed.
    """
    _check_names(suite, only, cases)
    if rounds and rounds < 5:
        raise ValueError(f"--rounds={rounds}: a median of fewer than 5 samples says little")
    if plots is not None and not importlib.util.find_spec("matplotlib"):
        raise ValueError("--plots needs matplotlib: pip install 'gan_jax[benchmark]'")
    with _no_compilation_cache():
        return _measure(
            suite, json, plots, only=only, cases=cases, rounds=rounds, batch=batch, precision=precision
        )


def _check_names(suite: str, only: Sequence[str], cases: Sequence[str]) -> None:
    """Raises ValueError for an unknown name, before the peaks are measured, which takes seconds."""
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
    """Turns the compilation cache off, so that programs are really compiled; restores it at the end."""
    name = "jax_enable_compilation_cache"
    before = getattr(jax.config, name)
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _measure(suite: str, json: Path | None, plots: Path | None, **options: Any) -> list[records.Record]:
    peaks = machine.measure()
    print(peaks_line(peaks), flush=True)
    measured = []
    for row in suites.run(suite, **options):
        measured.append(records.record(row, peaks))
        print(line(measured[-1]), flush=True)
        if json is not None:
            records.write(json, measured[-1:])
    if plots is not None:
        plot.plot_suites(measured, plots)
    return measured


def peaks_line(peaks: machine.Machine) -> str:
    """Returns a line about the device and its peaks."""
    products = ", ".join(f"{name} {speed:,.0f} GFLOP/s" for name, speed in peaks.gflops.items())
    return f"{peaks.device}: matrix product {products}; copy {peaks.copy_gbs:.1f} GB/s"


def line(record: records.Record) -> str:
    """Returns a line about one figure."""
    parts = (record.suite, record.case, record.implementation, record.mode, record.precision)
    name = " ".join(part for part in parts if part)
    median, speed = record.step_ms_median, record.images_per_second
    if median is None:
        return f"{name:62} {record.note}"
    peak = f"  {record.peak_fraction:.0%} of peak" if record.peak_fraction else ""
    spread = f"[{record.step_ms_min:.3f}, {record.step_ms_max:.3f}]"
    return f"{name:62} {median:10.3f} ms {spread:24} {speed:12,.0f} images/s{peak}"
