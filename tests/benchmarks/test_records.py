import dataclasses
import json
import re
import subprocess
import sys

import pytest

from benchmarks import machine, records
from benchmarks.runners import Runner
from benchmarks.suites import Row
from benchmarks.timing import Sample, interleaved, summarize
from devices import ROOT

HERE = machine.Machine(
    platform="cpu",
    device="a processor, 2 threads",
    versions={"jax": "0.10"},
    flags={"XLA_FLAGS": "--x"},
    commit="abc1234",
    gflops={"float32": 200.0},
    copy_gbs=10.0,
)
ISSUE = [
    "case",
    "implementation",
    "mode",
    "precision",
    "batch",
    "step_ms_median",
    "step_ms_min",
    "step_ms_max",
    "samples",
    "images_per_second",
    "compile_s",
    "flops",
    "peak_fraction",
    "memory_bytes",
    "device",
    "versions",
    "flags",
    "commit",
]
RUNNER = Runner(len, compile_s=2.0, first_s=3.0, flops=4e9, memory_bytes=5_000)  # type: ignore[arg-type]


SAMPLE = Sample(40.0, 38.0, 45.0, 7)


def row(sample: Sample | None = SAMPLE, **changes: object) -> Row:
    return Row("peers", "dcgan32", "gan_jax", "jit", 64, RUNNER, sample)._replace(**changes)


def test_figures_follow_from_the_sample():
    one = records.record(row(), HERE)
    assert (one.step_ms_median, one.step_ms_min, one.step_ms_max, one.samples) == (40.0, 38.0, 45.0, 7)
    assert one.images_per_second == pytest.approx(1600)
    assert one.seconds_per_kimg == pytest.approx(0.625)
    assert one.peak_fraction == pytest.approx(0.5)  # 4 GFLOP in 40 ms is half of 200 GFLOP/s
    assert (one.compile_s, one.first_step_s, one.flops, one.memory_bytes) == (2.0, 3.0, 4e9, 5_000)
    assert (one.device, one.versions, one.flags, one.commit) == HERE[1:5]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", one.time)
    assert one.host_memory_bytes is not None
    assert one.host_memory_bytes > 50e6  # bytes, not the KiB that the kernel gives
    assert one.note == ""


def test_several_devices():
    one = records.record(row(devices=2), HERE)
    assert one.images_per_second == pytest.approx(1600)
    assert one.images_per_second_per_device == pytest.approx(800)
    assert one.virtual
    assert one.peak_fraction == pytest.approx(1.0)  # both virtual devices share one processor
    here = HERE._replace(platform="gpu", gflops={"float32": 200.0, "bfloat16": 400.0})
    assert records.record(row(devices=2), here).peak_fraction == pytest.approx(0.5)
    assert records.record(row(precision="bfloat16"), here).peak_fraction == pytest.approx(0.25)
    assert not records.record(row(), HERE).virtual
    assert not records.record(row(devices=2), HERE._replace(platform="gpu")).virtual


def test_what_was_not_measured_says_why():
    one = records.record(row(None, note="not measured: PyTorch is not installed"), HERE)
    assert one.note == "not measured: PyTorch is not installed"
    figures = (one.step_ms_median, one.step_ms_min, one.step_ms_max, one.images_per_second, one.peak_fraction)
    assert figures == (None,) * 5
    assert one.seconds_per_kimg is None


def test_written_lines_are_read_back_and_more_are_appended(tmp_path):
    file = tmp_path / "new folder" / "results.jsonl"
    first, second = records.record(row(), HERE), records.record(row(None, note="no GPU"), HERE)
    records.write(file, [first])
    records.write(file, [second])
    assert records.read(file) == [first, second]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert set(ISSUE) <= set(lines[0])
    assert lines[1]["step_ms_median"] is None


def test_rows_agree_by_what_is_timed_and_how():
    one = records.record(row(), HERE)
    assert one.key == dataclasses.replace(one, commit="other", step_ms_median=1.0, note="x").key
    for name, value in {
        "mode": "fused",
        "precision": "bfloat16",
        "batch": 8,
        "devices": 2,
        "suite": "modes",
    }.items():
        assert one.key != dataclasses.replace(one, **{name: value}).key


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{", "Expecting"),
        ("[1, 2]", "mapping"),
        ('{"suite": "peers"}', "'case'"),
        ("LIKE, more", "more"),
        ("LIKE, text", "milliseconds"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, said):
    file = tmp_path / "results.jsonl"
    records.write(file, [records.record(row(), HERE)])
    good = file.read_text()
    bad = bad.replace("LIKE, text", good.strip().replace("40.0", '"40"', 1))
    file.write_text(good + bad.replace("LIKE, more", good.strip()[:-1] + ', "more": 1}') + "\n")
    with pytest.raises(ValueError, match=rf"results\.jsonl, line 2.*{said}"):
        records.read(file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.jsonl can't be read"):
        records.read(tmp_path / "none.jsonl")


def test_measured_peaks_are_in_the_units_they_claim(monkeypatch):
    calls = []
    monkeypatch.setattr(machine, "_milliseconds", lambda f, *a, **k: calls.append(a) or 2.0)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.x=1")
    found = machine.measure()
    assert found.gflops["float32"] == pytest.approx(2 * 2048**3 / 2e-3 / 1e9)
    assert found.copy_gbs == pytest.approx(2 * calls[-1][0].nbytes / 2e-3 / 1e9)
    assert {str(a.dtype) for a, *_ in calls[:2]} == set(found.gflops)
    assert found.flags["GLIBC_TUNABLES"] == "glibc.malloc.x=1"
    assert found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"jax", "jaxlib", "flax", "optax", "numpy"} <= set(found.versions)
    assert re.fullmatch(r"([0-9a-f]{7,}\+?)?", found.commit)
    assert found.device.endswith("threads")


def test_variants_take_turns_and_each_call_counts():
    order: list[tuple[str, int]] = []
    found = interleaved(
        {"a": lambda n: order.append(("a", n)), "b": lambda n: order.append(("b", n))}, 5, seconds=0.0, pause=0.0
    )
    timed = [name for name, _ in order[4:]]
    assert timed == ["a", "b", "b", "a", "a", "b", "b", "a", "a", "b"]
    assert found["a"].count == 5
    assert summarize([3.0, 1.0, 2.0, 9.0, 2.5]) == Sample(2.5, 1.0, 9.0, 5)


@pytest.mark.slow
def test_needs_neither_torch_nor_keras_nor_matplotlib():
    blocked = "import sys; sys.modules['torch'] = sys.modules['keras'] = sys.modules['matplotlib'] = None\n"
    modules = "records, machine, compare, plot, table, command, suites"
    ran = subprocess.run([sys.executable, "-c", f"{blocked}from benchmarks import {modules}"], cwd=ROOT, text=True,
                         capture_output=True)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
