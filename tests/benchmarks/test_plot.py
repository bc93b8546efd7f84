import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from benchmarks import plot, records

EMPTY = dict.fromkeys(field.name for field in dataclasses.fields(records.Record))


def record(implementation: str, ms: float | None, mode: str = "", **changes: object) -> records.Record:
    fields = EMPTY | {"suite": "peers", "case": "dcgan32", "implementation": implementation, "mode": mode}
    fields |= {"precision": "float32", "batch": 64, "devices": 1, "device": "a processor", "note": ""}
    if ms is not None:
        fields |= {"step_ms_median": ms, "step_ms_min": 0.9 * ms, "step_ms_max": 1.3 * ms}
        fields["images_per_second"] = 64e3 / ms
    return records.Record(**(fields | changes))  # type: ignore[arg-type]


ROWS = [
    record("gan_jax", 40.0, "jit"),
    record("torch_eager", 60.0),
    record("torch_compile", None, note="not measured"),
    record("gan_jax", 400.0, "jit", case="dcgan64"),
    record("torch_eager", 440.0, case="dcgan64", batch=32),
]


def lengths(path: Path, colour: str) -> list[int]:
    """Returns the number of pixels of one colour in each row of an image that has any."""
    with Image.open(path) as image:
        same = (np.asarray(image.convert("RGB")) == ImageColor.getrgb(colour)).all(-1).sum(-1)
    return [int(n) for n in same if n]


def test_bars_are_as_long_as_speeds(tmp_path):
    path = tmp_path / "new folder" / "peers.png"
    if importlib.util.find_spec("matplotlib") is None:  # the tests do not require it
        with pytest.raises(ValueError, match="matplotlib"):
            plot.plot(ROWS[:3], path)
        return
    plot.plot(ROWS[:3], path)
    ours, eager = (max(lengths(path, plot._COLOURS[name])) for name in ("gan_jax", "torch_eager"))
    assert ours / eager == pytest.approx(60 / 40, rel=0.03)
    assert not lengths(path, plot._COLOURS["torch_compile"])
    plot.plot(ROWS, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.height > 250


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_no_picture_where_nothing_was_measured(tmp_path):
    plot.plot(ROWS[2:3], tmp_path / "peers.png")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match=r"pip install 'gan_jax\[benchmark\]'"):
        plot.plot(ROWS, tmp_path / "peers.png")
    assert not list(tmp_path.iterdir())
