"""Files of one JSON object a line: what a kill leaves is dropped, and what nobody could have written is said."""

import re

import pytest

from gan_jax.files import json_lines
from gan_jax.files.folder import Folder
from gan_jax.files.typed_json import check

NAME = "rows.jsonl"


def parse(row):
    check(row.get("step"), int, "step")
    return row["step"]


@pytest.mark.parametrize(
    ("data", "steps", "wrong"),
    [
        (b"", [], None),
        (b'{"step": 1}\n{"step": 2}', [1, 2], None),
        (b'{"step": 1}\n{"st', [1], None),  # a kill
        (b'{"step": 1}\n{"st\n{"step": 3}\n', [1, 3], r"1 line of .*rows.jsonl .*\(line 2: it is not JSON\)"),
        (b'{"step": true}\n[]\n{"step": 3}\n', [3], r"2 lines of .*\(line 1: step is true or false"),
        (b'{"step": 1e999}\n', [], "line 1: step is a number, not an integer"),
    ],
)  # fmt: skip
def test_read(tmp_path, data, steps, wrong):
    (tmp_path / NAME).write_bytes(data)
    rows, note = json_lines.read(Folder(tmp_path), NAME, parse)
    assert rows == steps
    if wrong is None:
        assert note is None
    else:
        assert re.search(wrong, note or "")


def test_no_file(tmp_path):
    assert json_lines.read(Folder(tmp_path), NAME, parse) == ([], None)
    assert json_lines.rewind(Folder(tmp_path), NAME, parse, lambda step: step < 2) is None
    assert list(tmp_path.iterdir()) == []


def test_rewind_keeps_what_it_cannot_read(tmp_path):
    (tmp_path / NAME).write_bytes(b'{"step": 1}\nmine\n{"step": 5}\n{"ste')
    note = json_lines.rewind(Folder(tmp_path), NAME, parse, lambda step: step < 2)
    assert note is not None
    assert "line 2" in note
    assert (tmp_path / NAME).read_bytes() == b'{"step": 1}\nmine\n'


def test_append_ends_an_incomplete_line(tmp_path):
    folder = Folder(tmp_path / "run")
    json_lines.append(folder, NAME, {"step": 1})
    with folder.append(NAME) as file:
        file.write(b'{"st')
    json_lines.append(folder, NAME, {"step": 2, "a": None})
    assert folder.read(NAME) == b'{"step": 1}\n{"st\n{"a": null, "step": 2}\n'
