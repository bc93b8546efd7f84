"""Readers that are gone, closed descriptors, narrow encodings and odd names: no traceback, and nothing is lost."""

import os
import shlex
import subprocess
import sys

import pytest

import runs
from runs import call, sentence, spawn

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return runs.write_config(tmp_path_factory.mktemp("config"), runs.MLP)


def shell(line: str, **environment: str) -> runs.Outcome:
    """Runs a line of bash, in which `gan-jax` is this program; its exit code is that of `gan-jax`."""
    program = f'gan-jax() {{ {shlex.quote(sys.executable)} -m gan_jax "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, env=variables, cwd=runs.ROOT)
    return runs.Outcome(done.returncode, done.stdout, done.stderr)


# ---- the reader is gone


OTHERS = ("--help", "train --help", "sample --help")


@pytest.mark.parametrize("words", ["recipes", *(pytest.param(words, marks=pytest.mark.slow) for words in OTHERS)])
def test_a_reader_of_output_that_is_gone(words):
    outcome = shell(f"gan-jax {words} | exec 0<&-")
    assert outcome == (141, "", "")


@pytest.mark.slow
def test_a_reader_of_checkpoints_that_is_gone(trained):
    assert shell(f"gan-jax checkpoints {trained} | exec 0<&-") == (141, "", "")


@pytest.mark.slow
def test_a_reader_of_mistakes_that_is_gone(tmp_path):
    assert shell(f"gan-jax checkpoints {tmp_path} 2>&1 | exec 0<&-") == (141, "", "")
    assert shell(f"gan-jax train nothing --workdir {tmp_path} 2>&1 | exec 0<&-") == (2, "", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="it plays a full disk")
def test_output_on_a_full_disk():
    outcome = shell("gan-jax recipes > /dev/full")
    sentence(outcome, "standard output can't be written (No space left on device)")


@pytest.mark.slow
@pytest.mark.parametrize("options", ["2>&1 | head -1", "--timings | exec 0<&-"])
def test_a_run_without_a_reader_saves_and_stops(options, config, trained, tmp_path):
    """As after SIGTERM: nothing is lost, and the same command goes on to the same bits."""
    workdir = tmp_path / "run"
    outcome = shell(f"gan-jax train {config} steps=20 --workdir {workdir} {options}")
    assert outcome.code == 75, outcome
    assert "Traceback" not in outcome.err
    assert "Exception" not in outcome.err
    at = runs.checkpoints(workdir)[-1]
    assert at < 20
    again = call("train", config, "steps=20", "--workdir", workdir)
    assert f"resuming at step {at}\n" in again.err
    assert again.digest == call("digest", trained).out.strip()
    assert runs.rows(workdir) == runs.rows(trained)


@pytest.mark.slow
def test_a_run_whose_reader_goes_during_the_last_report_has_ended(config, trained, tmp_path):
    """All steps are done, so the code is 0."""
    workdir = tmp_path / "run"
    shown = f"gan-jax train {config} steps=20 --workdir {workdir} 2>&1 | sed -u '/^step 20/q'"
    assert shell(shown).code == 0
    assert call("digest", workdir).out == call("digest", trained).out
    assert (workdir / "report.html").exists()


# ---- closed descriptors


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(closed, config, trained, tmp_path):
    workdir = tmp_path / "run"
    outcome = shell(f"gan-jax train {config} steps=20 --timings --workdir {workdir} {closed}")
    assert outcome.code == 0, outcome.err
    assert call("digest", workdir).out == call("digest", trained).out
    assert ("state digest" in outcome.err) == ("2>&-" not in closed)


# ---- encodings


PRINTS = """
from gan_jax import cli
from gan_jax.commands import recipes
recipes.run = lambda _: print("\\xb1 gr\\xf6\\xdfe")
cli.main(["recipes"])
"""
ASCII = [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]


@pytest.mark.parametrize("environment", ASCII, ids=["ascii", "C"])
def test_an_encoding_without_the_letters(environment):
    """A metric's line has a plus-minus sign, and a folder may have any letter."""
    outcome = spawn(python=["-c", PRINTS], **environment)
    assert outcome == (0, "\\xb1 gr\\xf6\\xdfe\n", "")


# ---- names


@pytest.mark.parametrize("name", [b"runs/\xff", b"two\nlines", b"\x1b[2J", b""])
@pytest.mark.parametrize(
    "words", ["train CONFIG steps=1 --workdir", "sample TRAINED --out", "checkpoints", "train CONFIG --json"]
)
def test_names_that_cannot_be_kept(words, name, config, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = words.replace("CONFIG", str(config)).replace("TRAINED", str(trained)).split()
    sentence(call(*words, os.fsdecode(name)), "empty" if not name else "choose another name")
    assert list(tmp_path.iterdir()) == []


def test_a_current_folder_that_cannot_be_kept(config, tmp_path, monkeypatch):
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    monkeypatch.chdir(os.fsdecode(folder))
    sentence(call("train", config, "steps=1"), "is not UTF-8")
    os.rmdir(folder)
    sentence(call("train", config, "steps=1"), "the current folder is gone")


def test_data_that_no_page_can_name(config, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(path)
    words = ["data.source=folder", f"data.source.path={path}"]
    sentence(call("train", config, *words, "--workdir", tmp_path / "run"), "data.source.path is not UTF-8")
