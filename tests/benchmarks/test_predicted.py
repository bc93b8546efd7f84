"""Bounds beside measured times, from stored files alone."""

import json

import pytest

from benchmarks import predicted
from benchmarks.records import Record, write
from test_plot import EMPTY

PROGRAM = {
    "case": "cifar10_r3gan", "batch": 256, "precision": "bfloat16", "target": "h200",
    "bounds_seconds": {"arithmetic": 0.086, "traffic": 0.1, "kernels": 0.171},
}  # fmt: skip
TEXT = """HloModule m

ENTRY %main (a: bf16[512,512], b: bf16[512,512]) -> bf16[512,512] {
  %a = bf16[512,512]{1,0} parameter(0)
  %b = bf16[512,512]{1,0} parameter(1)
  ROOT %dot = bf16[512,512]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def measured(device: str, ms: float | None = 342.0, **changes: object) -> Record:
    fields = {**EMPTY, **PROGRAM, "suite": "recipes", "implementation": "gan_jax", "mode": "jit", "device": device}
    fields |= {"step_ms_median": ms, "step_ms_min": ms, "step_ms_max": ms, "devices": 1, "note": "", **changes}
    return Record(**{name: value for name, value in fields.items() if name in EMPTY})


def test_the_ratio_is_measured_over_the_sum_of_bounds():
    (found,) = predicted.predictions([measured("NVIDIA H200")], [PROGRAM])
    assert found.kernels == 171.0
    assert found.ratio == pytest.approx(2.0)
    times = "86.000 ms | 100.000 ms | 171.000 ms | 342.000 ms on NVIDIA H200 | 2.00"
    assert predicted.table([found]).splitlines()[-1] == f"| cifar10_r3gan, 256, bfloat16 | h200 | {times} |"


@pytest.mark.parametrize("record", [measured("a processor"), measured("NVIDIA H200", ms=None)])
def test_no_ratio_without_a_time_on_that_chip(record):
    (found,) = predicted.predictions([record], [PROGRAM])
    assert found.ratio is None


def test_other_batches_are_other_steps():
    (found,) = predicted.predictions([measured("NVIDIA H200", batch=64)], [PROGRAM])
    assert found.measured is None
    assert "| not measured |" in predicted.table([found])


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("AMD EPYC, 2 threads", None),
    ],
)
def test_the_chip_of_a_device(device, name):
    assert predicted.chip_of(device) == name


def test_what_is_stored_of_a_program():
    """2 x 512^3 operations at 989.5 TFLOP/s take 0.27 us; three matrices of 512 KiB at 4.8 TB/s take 0.33 us."""
    row = predicted.entry("a", 1, "bfloat16", TEXT, "h200")
    assert row["kernels"] == 1
    assert row["bytes"] == 3 * 512 * 512 * 2
    assert row["bounds_seconds"]["arithmetic"] == pytest.approx(2 * 512**3 / 989.5e12)
    assert (
        row["bounds_seconds"]["kernels"] == row["bounds_seconds"]["traffic"] == pytest.approx(3 * 2**19 / 4.8e12)
    )


def test_stored_files_are_enough(tmp_path, capsys):
    records, programs = tmp_path / "records.jsonl", tmp_path / "programs.jsonl"
    write(records, [measured("NVIDIA H200")])
    programs.write_text(json.dumps(PROGRAM) + "\n")
    assert predicted.main(["--records", str(records), "--programs", str(programs)]) == 0
    assert "| 2.00 |" in capsys.readouterr().out
    programs.write_text('{"case": "a"}\n')
    assert predicted.main(["--records", str(records), "--programs", str(programs)]) == 2
    assert f"{programs}, line 1, is not a program: it needs case, batch" in capsys.readouterr().err


def test_a_dry_run_is_a_program_too(tmp_path):
    path = tmp_path / "dry.json"
    one = {"target": "h200", "devices": 1, "bounds_seconds": PROGRAM["bounds_seconds"]}
    one["flops"] = {"model_step": 68e12, "model_image": 68e12 / 256}
    eight = {**one, "target": "h200:8", "devices": 8}
    path.write_text(json.dumps({"config": "cifar10_r3gan", "targets": [one, eight]}))
    (found,) = predicted.predictions([measured("NVIDIA H200")], predicted.read_programs(path))
    assert found.ratio == pytest.approx(2.0)
