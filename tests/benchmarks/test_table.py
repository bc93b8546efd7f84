import dataclasses
import re

import pytest

from benchmarks import records, report, table
from devices import ROOT

EMPTY = dict.fromkeys(field.name for field in dataclasses.fields(records.Record))


def record(implementation: str, ms: float | None, mode: str = "", **changes: object) -> records.Record:
    fields = EMPTY | {"suite": "peers", "case": "dcgan32", "implementation": implementation, "mode": mode}
    fields |= {"precision": "float32", "batch": 64, "devices": 1, "step_ms_median": ms, "note": ""}
    if ms is not None:
        fields |= {"step_ms_min": ms - 1, "step_ms_max": ms + 2, "images_per_second": 64e3 / ms}
    return records.Record(**(fields | changes))  # type: ignore[arg-type]


ROWS = [
    record("gan_jax", 50.0, "jit", peak_fraction=0.42),
    record("gan_jax", 40.0, "fused", peak_fraction=0.5),
    record("torch_eager", 60.0),
    record("torch_tuned", 44.0),
    record("torch_compile", None, note="not measured: no second derivatives"),
    record("jax_tutorial", 400.0),
    record("gan_jax", 1.0, "shard", suite="modes"),
]


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_a_case_beside_its_peers():
    head, rule, row = cells(table.peers(ROWS))
    assert len(head) == len(rule) == len(row)
    named = dict(zip(head, row))
    assert (named["case"], named["batch"]) == ("dcgan32", "64")
    assert named["jit"] == "50.0 [49.0, 52.0]"
    assert named["torch_tuned"] == "44.0 [43.0, 46.0]"
    assert named["torch_compile"] == "not measured"
    # The ratios use the faster of gan_jax's modes, 40 ms.
    assert (named["x eager"], named["x tuned"], named["x tutorial"]) == ("1.50", "1.10", "10.00")
    assert named["x compile"] == ""
    assert named["of peak"] == "50%"


def test_ours_may_be_missing_and_each_precision_has_a_row():
    rows = [record("torch_eager", 60.0), record("gan_jax", 30.0, "jit", precision="bfloat16")]
    first, second = (dict(zip(cells(table.peers(rows))[0], row)) for row in cells(table.peers(rows))[2:])
    assert (first["case"], first["jit"], first["x eager"]) == ("dcgan32", "not measured", "")
    assert (second["case"], second["torch_eager"], second["x eager"]) == ("dcgan32 bfloat16", "not measured", "")


@pytest.mark.parametrize(
    ("ms", "shown"), [(1234.4, "1234"), (12.345, "12.3"), (1.2345, "1.23"), (0.061234, "0.0612")]
)
def test_three_figures(ms, shown):
    assert (
        table.milliseconds(record("gan_jax", ms, step_ms_min=ms, step_ms_max=ms)) == f"{shown} [{shown}, {shown}]"
    )


def test_other_suites_have_a_row_a_figure():
    rows = [*ROWS, record("gan_jax", 20.0, "pmap", suite="modes", devices=2)]
    found = cells(table.figures(rows, "modes"))[2:]
    assert [row[1] for row in found] == ["shard", "pmap, 2 devices"]
    assert found[1][-2:] == ["20.0 [19.0, 22.0]", "3,200"]


def test_only_the_marked_place_of_a_document_changes(tmp_path):
    file = tmp_path / "performance.md"
    other = "after\n<!-- benchmark:b -->\nkept\n<!-- /benchmark:b -->\n"
    text = "# Speed\n<!-- benchmark:peers -->\n{}<!-- /benchmark:peers -->\n" + other
    file.write_text(text.format("old\n\nlines\n"))
    for _ in range(2):  # a second update with the same text changes nothing
        table.update(file, "peers", r"new \1 \g<0>")
        assert file.read_text() == text.format("new \\1 \\g<0>\n")
    before = file.read_text()
    with pytest.raises(ValueError, match=r"performance\.md has no place for the benchmark 'modes'"):
        table.update(file, "modes", "text")
    assert file.read_text() == before


def test_the_report_is_of_the_records_that_lie_there(tmp_path):
    """The folder also has `quality.jsonl`, which holds no benchmark records."""
    document = tmp_path / "performance.md"
    for page in (document, document.with_name("performance_notes.md")):
        page.write_text((ROOT / "docs" / page.name).read_text())
    report.main(document=document)
    rows = {row[0]: row for row in cells(document.read_text()) if len(row) > 10}
    head = rows["case"]
    assert {"keras", "x keras"} <= set(head)
    for case in ("mlp28", "dcgan32"):
        assert re.match(r"[\d.]+ \[", rows[case][head.index("keras")])
    assert rows["r3gan64_quarter"][head.index("jax_tutorial")] == "not measured"
