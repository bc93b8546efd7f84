"""The script for one GPU: it fits in nine minutes, and it runs to its end on a CPU at toy sizes."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from benchmarks import profile
from devices import ROOT

SCRIPT = ROOT / "benchmarks" / "run_gpu.sh"


def test_the_parts_fit_in_nine_minutes():
    limits = [int(n) for n in re.findall(r"\bpart (\d+) \w+", SCRIPT.read_text())]
    assert len(limits) == 8
    assert sum(limits) <= 540


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_runs_to_its_end_on_a_cpu(tmp_path):
    environment = {
        **os.environ,
        "TOY": "1",
        "OUT": str(tmp_path),
        "PYTHON": sys.executable,
        "JAX_PLATFORMS": "cpu",
    }
    script = subprocess.Popen(
        ["bash", str(SCRIPT)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, _ = script.communicate(timeout=580)
    finally:
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
    assert script.returncode == 0, out

    def lines(name):
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    assert {row["direction"] for row in lines("formulations.jsonl")} == {
        "forward", "input gradient", "kernel gradient"
    }  # fmt: skip
    assert all(row["us_median"] > 0 for row in lines("formulations.jsonl"))
    assert {row["batch"] for row in lines("peers.jsonl")} == {4, 8}
    (recipe,), (program,) = lines("recipes.jsonl"), lines("programs.jsonl")
    assert recipe["flops"] > 0
    assert program["bounds_seconds"]["kernels"] > 0
    kernels = json.loads((tmp_path / "profile.json").read_text())["kernels"]
    assert len(kernels) == 20
    assert any("matrix product" in kernel["program"] for kernel in kernels), kernels
    assert "| digits, 4, bfloat16 | h200 |" in (tmp_path / "predicted.log").read_text()


def test_the_longest_kernels_are_beside_the_program():
    events = [
        {"name": "sm90_gemm", "ts": 0.0, "dur": 3000.0, "args": {"hlo_op": "dot.1"}},
        {"name": "sm90_gemm", "ts": 5000.0, "dur": 1000.0, "args": {"hlo_op": "dot.1"}},
        {"name": "memcpy", "ts": 9000.0, "dur": 6000.0},
    ]
    first, second = profile.longest(events, 2, {"dot.1": "matrix product"})
    assert first == profile.Kernel("memcpy", 3.0, 0.5, "")
    assert second == profile.Kernel("dot.1", 2.0, 1.0, "matrix product")
    assert profile.longest(events, 2, {}, count=1) == [first]
