"""The progress line, `metrics.jsonl`, and `rewind`."""

import io
import json

import numpy as np
import pytest

from gan_jax.report import writer
from gan_jax.report.writer import Writer, rewind


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def screen(self) -> list[str]:
        """Returns the lines on the screen: after a carriage return, text overwrites the line from its start."""
        rows = []
        for line in self.getvalue().split("\n"):
            shown: list[str] = []
            for part in line.split("\r"):
                shown[: len(part)] = part
            rows.append("".join(shown).rstrip())
        return rows


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def make(workdir, stream=None, clock=None, **changes):
    settings = {"start_step": 0, "total_steps": 600, "images_per_step": 64, **changes}
    return Writer(workdir, stream=stream or io.StringIO(), clock=clock or Clock(), **settings)


def strict(line: str):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_lines_are_strict_json_with_sorted_keys(tmp_path):
    clock = Clock()
    with make(tmp_path, clock=clock) as log:
        clock.now += 4
        values = {"loss/generator": np.float32(1.5), "nonfinite": np.int32(0), "b": float("nan"), "a": np.inf}
        log.write(50, values)
        # The line is flushed: it is complete even if the process is killed now.
        (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = strict(line)
    assert row == {
        "a": None, "b": None, "images": 3200, "images_per_second": 800.0, "loss/generator": 1.5,
        "nonfinite": 0, "step": 50, "time": 4.0,
    }  # fmt: skip
    assert list(row) == sorted(row)
    assert type(row["nonfinite"]) is int
    assert type(row["loss/generator"]) is float


def test_progress_line_says_where_how_fast_and_how_long(tmp_path):
    stream, clock = io.StringIO(), Clock()
    log = make(tmp_path, stream, clock, start_step=100)
    losses = {"loss/generator": 1.234, "loss/discriminator": 0.98}
    clock.now += 60  # compilation must not count
    log.write(200, losses)
    clock.now += 8
    log.write(300, losses)
    log.close()
    first, second = stream.getvalue().splitlines()
    assert first == "step 200/600  loss G 1.23 D 0.98"  # no speed, because the time includes compilation
    assert second == "step 300/600  images/s 800  left 0:24  loss G 1.23 D 0.98"


def test_progress_without_losses_past_the_end_and_over_hours(tmp_path):
    stream, clock = io.StringIO(), Clock()
    log = make(tmp_path, stream, clock, total_steps=10)
    log.write(1, {})
    clock.now += 3600
    log.write(5, {"loss/generator": 1e6, "x": 1})
    log.write(12, {})
    assert stream.getvalue().splitlines() == [
        "step 1/10",
        "step 5/10  images/s 0  left 1:15:00  loss G 1e+06",
        "step 12/10  images/s 0  left 0:00",
    ]
    log.close()


def test_on_a_terminal_the_line_is_rewritten_and_messages_stay_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    stream, clock = Terminal(), Clock()
    log = make(tmp_path, stream, clock)
    log.message("starts")
    log.write(1, {})
    clock.now += 1
    log.write(2, {"loss/generator": 100.25, "loss/discriminator": 100.25})
    assert len(stream.screen()[-1]) == 49
    clock.now += 1
    log.write(3, {"loss/generator": 1.0})
    log.message("saved step 3")
    log.close()
    log.close()
    last = "step 3/600  images/s 64  left 9:57  loss G 1.00"
    assert stream.screen() == ["starts", "saved step 3", last, ""]


def kill_and_resume(workdir):
    """Runs a process that writes steps 1 to 5 and is killed within a line, then one that resumes at step 3."""
    with make(workdir) as log:
        for step in range(1, 6):
            log.write(step, {"loss/generator": step})
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"loss/generator": 6, "st')
    rewind(workdir, 3)
    with make(workdir, start_step=3) as log:
        for step in range(4, 8):
            log.write(step, {"loss/generator": 10 * step})


def test_a_resumed_log_has_no_hole_and_no_repeat(tmp_path):
    kill_and_resume(tmp_path)
    rows = [strict(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["loss/generator"] for row in rows] == [1, 2, 3, 40, 50, 60, 70]
    assert rows[3]["images"] == 256
    assert writer.read(tmp_path) == (rows, None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b'{"step": 1}\n{"step": 2}\n', b'{"step": 1}\n{"step": 2}\n'),
        (b'{"step": 1}\n{"step": 2}', b'{"step": 1}\n{"step": 2}\n'),  # only the newline is missing
        (b'{"step": 1}\n{"step": 2}\n{"step": 3}\n', b'{"step": 1}\n{"step": 2}\n'),
        (b'{"step": 1}\n{"st', b'{"step": 1}\n'),
        (b'{"step": 1}\n{"step": 2, "a": "\xc3', b'{"step": 1}\n'),
        (b'{"step": 1}\n\x00\x00\x00', b'{"step": 1}\n'),
        (
            b'{"step": 1}\n{"st\n{"step": 2}\n',
            b'{"step": 1}\n{"st\n{"step": 2}\n',
        ),  # stays
        (b'{"step": 9}\n', b""),
    ],
)
def test_rewind_of_the_log(tmp_path, before, after):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(before)
    for _ in range(2):
        rewind(tmp_path, 2)
        assert path.read_bytes() == after
    assert list(tmp_path.iterdir()) == [path]


def test_rewind_removes_later_samples_only(tmp_path):
    rewind(tmp_path, 0)  # an empty workdir is no error
    samples = tmp_path / "samples"
    samples.mkdir()
    names = ["step_00000000.png", "step_00000300.png", "step_00000301.png", "step_100000000.png"]
    for name in [*names, "step_mine.png", "final.png"]:
        (samples / name).touch()
    rewind(tmp_path, 300)
    left = {path.name for path in samples.iterdir()}
    assert left == {"step_00000000.png", "step_00000300.png", "step_mine.png", "final.png"}
