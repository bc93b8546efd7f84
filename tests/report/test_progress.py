"""Where a run is, as its workdir tells, and its text in a terminal."""

import io
import json
import time
from itertools import pairwise

import pytest

from gan_jax import cli
from gan_jax.commands import watch_run
from gan_jax.report.progress import read_config, read_progress
from gan_jax.report.run_rows import RunRows
from gan_jax.report.terminal_view import dot_chart
from gan_jax.report.writer import read, rewind
from written_run import add_checkpoint, write_run

pytestmark = pytest.mark.timeout(60)


def progress_of(workdir, later=0.0):
    return read_progress(workdir, read(workdir).rows, read_config(workdir), time.time() + later)


def test_a_run_in_its_middle(tmp_path):
    progress = progress_of(write_run(tmp_path))
    assert progress[:6] == ("training", 30, 100, 120, 8.0, 35.0)
    assert progress.age < 5
    assert progress.text() == "step 30 of 100, 0.12 kimg, 8 images/s, 0:35 left"
    assert progress.news() == "last news 0 s ago"


def test_the_speed_is_that_of_the_last_process(tmp_path):
    """`time` begins at 0 in each process, so a stop in between does not count."""
    write_run(tmp_path, [10, 20, 30], seconds_per_step=9.0)
    rows = [{"step": step, "images": 4 * step, "time": (step - 30) * 0.25} for step in (40, 50)]
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert progress_of(tmp_path)[4:6] == (16.0, 12.5)


def test_a_run_without_news(tmp_path):
    """Two minutes; for a run whose lines come more rarely, five lines."""
    assert progress_of(write_run(tmp_path), 119).state == "training"
    silent = progress_of(tmp_path, 12 * 60)
    assert silent.news() == "no news for 12 minutes: if the process has ended, the same command goes on"
    assert progress_of(write_run(tmp_path, seconds_per_step=60), 49 * 60).state == "training"
    assert progress_of(tmp_path, 51 * 60).state == "silent"


def test_a_run_that_is_finished_or_has_not_begun(tmp_path):
    assert progress_of(tmp_path / "nothing").text() == "step 0"
    assert progress_of(tmp_path / "nothing").news() == "the run has not begun"
    workdir = write_run(tmp_path / "run", steps=())
    assert progress_of(workdir).state == "training"  # it compiles
    write_run(workdir, steps=(50, 100))
    assert progress_of(workdir).state == "training"  # the last checkpoint is not complete
    add_checkpoint(workdir, 100)
    assert progress_of(workdir, 1e6).news() == "the run is finished"
    assert progress_of(workdir).text() == "step 100 of 100, 0.4 kimg, 8 images/s"


@pytest.mark.parametrize("text", ["", "[]", '{"steps": "many"}', '{"steps": -3}', '{"steps": 1e99}'])
def test_a_damaged_config(tmp_path, text):
    write_run(tmp_path)
    (tmp_path / "config.json").write_text(text)
    progress = progress_of(tmp_path)
    assert (progress.state, progress.steps, progress.left) == ("training", None, None)
    assert progress.text() == "step 30, 0.12 kimg, 8 images/s"


# ---- rows that are read again


def test_rows_are_read_again_as_a_run_writes_them(tmp_path):
    rows = RunRows(write_run(tmp_path))
    assert rows.read() == read(tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 40}\n{"step"')
    assert [row["step"] for row in rows.read().rows] == [10, 20, 30, 40]
    rewind(tmp_path, 20)  # a run resumes
    assert rows.read() == read(tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('no row\n{"step": 30}\n')
    assert rows.read() == read(tmp_path)
    assert "line 3" in rows.read().note
    (tmp_path / "metrics.jsonl").unlink()
    assert rows.read() == ([], None)


# ---- in the terminal


def dots(chart):
    """Returns the columns of a chart: in each, the levels that have a dot, from the lowest, 0."""
    height = 4 * len(chart)
    bits = {
        0x01: (0, 0),
        0x02: (0, 1),
        0x04: (0, 2),
        0x40: (0, 3),
        0x08: (1, 0),
        0x10: (1, 1),
        0x20: (1, 2),
        0x80: (1, 3),
    }
    columns = [[] for _ in range(2 * len(chart[0]))]
    for down, line in enumerate(chart):
        for across, character in enumerate(line):
            for bit, (column, row) in bits.items():
                if (ord(character) - 0x2800) & bit:
                    columns[2 * across + column].append(height - 1 - 4 * down - row)
    return [sorted(column) for column in columns]


def test_a_chart_of_dots():
    columns = dots(dot_chart(list(range(40)), width=20, height=4))
    assert columns[0] == [0]
    assert columns[-1][-1] >= 14
    assert all(low[-1] <= high[-1] <= low[-1] + 1 for low, high in pairwise(columns))
    assert dots(dot_chart([5.0, 5.0], width=3, height=1)) == [[2]] * 6
    assert dots(dot_chart([None, float("nan")], width=3, height=1)) == [[]] * 6
    assert dots(dot_chart([], width=2, height=1)) == [[]] * 4
    assert dots(dot_chart([1.0], width=2, height=1)) == [[2]] * 4
    spike = [0.0] * 10_000
    spike[4321] = 1.0
    assert any(15 in column for column in dots(dot_chart(spike, width=20, height=4)))
    gap = dots(dot_chart([0.0] * 10 + [None] * 20 + [0.0] * 10, width=20, height=1))
    assert [bool(column) for column in gap] == [True] * 10 + [False] * 20 + [True] * 10


def shown(workdir, **options):
    stream = io.StringIO()
    assert watch_run.show(workdir, None, stream=stream, **{"once": True, **options}) == 0
    return stream.getvalue()


def test_a_run_in_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    workdir = write_run(tmp_path / "run")
    (workdir / "samples").mkdir()
    for step in (0, 20):
        (workdir / "samples" / f"step_{step:08d}.png").write_bytes(b"")
    text = shown(workdir)
    assert text.splitlines()[0] == f"rings <&>  {workdir}"
    assert f"{'█' * 15}{'░' * 36}  30%\n" in text
    assert "step 30 of 100, 0.12 kimg, 8 images/s, 0:35 left; last news 0 s ago\n" in text
    assert "\nloss G 0.03333  (0.03333 to 0.1)\n" in text
    assert "\nloss D 2  (2 to 2)\n" in text
    assert text.endswith(f"\nnewest grid  {workdir}/samples/step_00000020.png\n")
    assert "\x1b" not in text


def test_a_run_with_damaged_files_in_the_terminal(tmp_path):
    workdir = write_run(tmp_path)
    (workdir / "config.json").write_text("{")
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('\x1b[2J\n{"step": 40}\n')
    (workdir / "evaluations.jsonl").write_text("[]\n")
    text = shown(workdir)
    assert f"{workdir}/config.json cannot be read: how long the run is, is not known" in text
    assert f"1 line of {workdir}/metrics.jsonl cannot be used" in text
    assert f"1 line of {workdir}/evaluations.jsonl cannot be used" in text
    assert text.startswith(f"{workdir.name}  {workdir}\nstep 40")
    assert "\x1b" not in text


def test_the_terminal_follows_a_run_to_its_end(tmp_path):
    """Elsewhere than on a terminal, it prints the run when it has changed."""
    workdir, looks = tmp_path / "run", []

    def sleep(seconds):
        looks.append(seconds)
        assert len(looks) < 9
        if len(looks) == 2:
            write_run(workdir)
        if len(looks) == 4:
            write_run(workdir, (50, 100))
            add_checkpoint(workdir, 100)

    text = shown(workdir, once=False, sleep=sleep)
    assert text.count("the run has not begun") == 1
    assert text.count("step 30 of 100") == 1
    assert text.count("step 100 of 100") == 1
    assert len(looks) == 4


def test_ctrl_c_leaves_the_screen_as_it_was(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def interrupt(seconds):
        raise KeyboardInterrupt

    stream = Terminal()
    assert watch_run.show(write_run(tmp_path), None, False, stream=stream, sleep=interrupt) == 0
    before, after = stream.getvalue().split("\x1b[?1049l")
    assert before.startswith("\x1b[?1049h\x1b[H\x1b[J")
    assert "step 30 of 100" in before
    assert "step 30 of 100" in after  # the last state stays to be read


def test_options_that_do_not_fit(tmp_path, capsys):
    for words, sentence in {
        ("--port", "80"): "--port needs --browser: add --browser, or leave --port out",
        ("--browser", "--once"): "--once is for the terminal: ",
        ("--browser", "--port", "70000"): "--port must be from 0 to 65535, got 70000",
    }.items():
        assert cli.main(["watch", str(tmp_path), *words]) == 2
        assert capsys.readouterr().err.startswith(f"gan-jax: {sentence}")
