import dataclasses
import statistics
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compare, records

EMPTY = dict.fromkeys(field.name for field in dataclasses.fields(records.Record))


def record(*times: float, **changes: object) -> records.Record:
    """Returns a record of samples in milliseconds; without samples, a record that was not measured."""
    figures = (statistics.median(times), min(times), max(times)) if times else (None, None, None)
    fields = EMPTY | dict(zip(("step_ms_median", "step_ms_min", "step_ms_max"), figures), samples=len(times))
    fields |= {"suite": "peers", "case": "dcgan32", "implementation": "gan_jax", "mode": "jit", "batch": 64}
    fields |= {
        "precision": "float32",
        "devices": 1,
        "device": "a processor",
        "versions": {"jax": "0.10"},
        "note": "",
    }
    return records.Record(**(fields | changes))  # type: ignore[arg-type]


STEADY = (100.0, 101.0, 102.0, 103.0, 104.0)


def times(factor: float) -> tuple[float, ...]:
    return tuple(factor * t for t in STEADY)


@pytest.mark.parametrize(
    ("new", "word"),
    [
        (times(1.2), "slower"),
        (times(1.11), "slower"),
        (times(1.05), ""),  # larger than the noise, but under the threshold
        (times(1.0), ""),
        (times(0.8), "faster"),
        ((99.0, 100.0, 125.0, 130.0, 140.0), ""),  # a large median, but some samples are as fast as before
        ((100.0, 101.0, 102.0, 103.0, 400.0), ""),  # only one slow sample
    ],
)
def test_verdict(new, word):
    assert compare.verdict(record(*STEADY), record(*new)) == word


def test_a_wide_spread_hides_a_small_difference():
    noisy = (90.0, 100.0, 110.0, 150.0, 160.0)
    assert compare.verdict(record(*noisy), record(*(1.12 * t for t in noisy))) == ""


def test_a_hiccup_in_the_old_run_hides_no_slow_down():
    assert compare.verdict(record(100.0, 100.0, 100.0, 101.0, 180.0), record(*times(1.3))) == "slower"


def test_the_threshold_is_the_callers():
    assert compare.verdict(record(*STEADY), record(*times(1.2)), threshold=0.25) == ""
    assert compare.verdict(record(*STEADY), record(*times(1.06)), threshold=0.05) == "slower"


def test_noise_alone_does_not_trip_and_a_slow_down_does():
    draw = np.random.default_rng(0)

    def run(factor: float) -> records.Record:
        """Returns 7 samples: the best time plus exponential noise with a mean of 5 %."""
        return record(*(factor * 100.0 * (1 + draw.exponential(0.05, 7))))

    same = [compare.verdict(run(1.0), run(1.0)) for _ in range(500)]
    slow = [compare.verdict(run(1.0), run(1.4)) for _ in range(500)]
    assert same.count("slower") <= 2
    assert slow.count("slower") >= 490


def test_what_was_not_measured_is_no_slow_down():
    for old, new in [((), STEADY), (STEADY, ()), ((), ())]:
        assert compare.verdict(record(*old), record(*new)) == ""


def test_rows_are_paired_by_what_they_time_and_the_last_counts():
    old = [record(*STEADY), record(*STEADY, mode="fused"), record(case="mlp28")]
    new = [record(*STEADY, batch=8), record(*times(2.0)), record(*times(1.0)), record(*STEADY, case="mlp28")]
    found = compare.pairs(old, new)
    assert [(a.mode, b.step_ms_median) for a, b in found] == [("jit", 102.0)]


def files(folder: Path, *rows: list[records.Record]) -> list[str]:
    names = [folder / f"{i}.jsonl" for i in range(len(rows))]
    for name, some in zip(names, rows):
        records.write(name, some)
    return [str(name) for name in names]


def test_exit_codes_of_the_command(tmp_path, capsys):
    old, same, slow = files(tmp_path, [record(*STEADY)], [record(*times(1.01))], [record(*times(1.3))])
    assert compare.main([old, same]) == 0
    assert "0 of 1 slower" in capsys.readouterr().out
    assert compare.main([old, slow]) == 1
    assert "x1.30 slower" in capsys.readouterr().out
    assert compare.main([slow, old]) == 0
    assert compare.main([old, slow, "--threshold", "0.5"]) == 0
    assert "note" not in capsys.readouterr().out


def test_what_cannot_be_compared_is_one_sentence(tmp_path, capsys):
    old, other = files(tmp_path, [record(*STEADY)], [record(*STEADY, case="mlp28")])
    (tmp_path / "bad.jsonl").write_text("{}\n")
    for new, said in [
        (other, "in common"),
        ("none.jsonl", "can't be read"),
        (str(tmp_path / "bad.jsonl"), "line 1"),
    ]:
        assert compare.main([old, new]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("change", [{"device": "another"}, {"versions": {"jax": "0.11"}}])
def test_another_machine_is_mentioned(tmp_path, capsys, change):
    assert compare.main(files(tmp_path, [record(*STEADY)], [record(*STEADY, **change)])) == 0
    assert "another device, or with other versions" in capsys.readouterr().out
