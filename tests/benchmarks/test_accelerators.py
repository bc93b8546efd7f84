"""The script of the table of accelerators: a row is compiled once, and a row that failed is written too."""

import argparse
import json

import pytest

from benchmarks import accelerator_tables, accelerators

FACTS = {
    "memory": {"needed": 2**31, "temporaries": 2**30, "fits": False},
    "fit": {"microbatches": 4, "batch_per_device": 16},
    "flops": {"model_step": 1.5e12, "program_of_model": 1.01},
    "kernels": {"fusion": 120, "copy": 3},
    "collectives": {"all-reduce": {"count": 3, "bytes": 2e6, "largest": "f32[9]"}},
    "slow_convolutions": 2, "moves": 1, "bytes": 3e9,
    "bounds_seconds": {"arithmetic": 0.001, "traffic": 0.002, "kernels": 0.0025},
}  # fmt: skip


@pytest.fixture
def arguments(tmp_path):
    return argparse.Namespace(limit=1, results=tmp_path / "rows.jsonl", again=False, quick=False)


def test_a_row_is_compiled_once(arguments, monkeypatch):
    asked = []
    monkeypatch.setattr(
        accelerators, "compiled", lambda *words: asked.append(words[:2]) or {"facts": FACTS, "batch": 8}
    )
    for target in ("h200", "h200", "v5e:2x4"):
        accelerators.measure("digits", target, [], arguments)
    assert asked == [("digits", "h200"), ("digits", "v5e:2x4")]
    accelerators.measure("digits", "h200", ["batch=32"], arguments)  # another config
    assert len(asked) == 3
    monkeypatch.setattr(accelerators.machine, "commit", lambda: "another")
    accelerators.measure("digits", "h200", ["batch=32"], arguments)
    assert len(asked) == 4
    assert len(accelerator_tables.newest(accelerators.read(arguments.results))) == 3


def test_a_row_that_failed_is_tried_again(arguments, monkeypatch):
    monkeypatch.setattr(accelerators, "compiled", lambda *_: {"failed": "took more than 1 s to compile"})
    for _ in range(2):
        accelerators.measure("digits", "h200", [], arguments)
    rows = accelerators.read(arguments.results)
    assert len(rows) == 2
    assert "took more than 1 s" in "\n".join(accelerator_tables.lines(accelerator_tables.newest(rows)))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_command_that_fails_gives_its_last_line(arguments):
    arguments.limit = 60
    assert "there is no target 'h300'" in accelerators.compiled("digits", "h300", [], arguments)["failed"]


def test_a_quick_row_counts_where_there_is_no_other(arguments, monkeypatch):
    monkeypatch.setattr(accelerators, "compiled", lambda *_: {"facts": FACTS, "batch": 8})
    accelerators.measure("digits", "v5e:2x4", [], arguments)
    arguments.quick = True
    accelerators.measure("digits", "v5e:2x4", [], arguments)
    accelerators.measure("gaussians", "v5e:2x4", [], arguments)
    digits, gaussians = accelerator_tables.newest(accelerators.read(arguments.results))
    assert accelerator_tables.cells(digits)[1] == "v5e:2x4"
    assert accelerator_tables.cells(gaussians)[1] == "v5e:2x4, quick"


def test_cells():
    row = {"recipe": "digits", "target": "h200:8", "overrides": [], "batch": 1024, "facts": FACTS}
    cells = accelerator_tables.cells(json.loads(json.dumps(row)))
    assert len(cells) == len(accelerator_tables.HEADER)
    assert cells == [
        "`digits`", "h200:8", "1,024", "microbatches=4, or 16 a device", "2 GiB", "1 GiB", "1.5", "101.0%", "123",
        "2", "1", "3 all-reduce 2 MB", "3 GB", "1, 2, 2.5 ms",
    ]  # fmt: skip


def test_other_modes_have_a_table_of_their_own():
    facts = {**FACTS, "collectives": {"all-gather": {"count": 5, "bytes": 7e6}}}
    row = {"recipe": "digits", "target": "h200:8", "batch": 64, "versions": {"jax": "1"}, "commit": "abc"}
    rows = [{**row, "overrides": [], "facts": FACTS}]
    rows += [{**row, "overrides": ["batch=64", "parallel.mode=pmap"], "facts": FACTS}]
    rows += [{**row, "overrides": ["parallel.mode=shard", "parallel.params=sharded"], "facts": facts}]
    of_modes = list(accelerator_tables.mode_lines(rows))
    assert of_modes[2] == "| `digits` | h200:8 | 64 | 3 all-reduce 2 MB | 5 all-gather 7 MB |"
    assert len(of_modes) == len(list(accelerator_tables.lines(rows))) == 5
    failed = {name: value for name, value in rows[2].items() if name not in ("batch", "facts")}
    of_modes = list(accelerator_tables.mode_lines([rows[1], {**failed, "failed": "took long"}]))
    assert of_modes[2] == "| `digits` | h200:8 | 64 | 3 all-reduce 2 MB | took long |"
    assert list(accelerator_tables.mode_lines(rows[:1]))[2:] == ["Nothing was compiled yet."]
