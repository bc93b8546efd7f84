"""A sweep that is killed goes on, in one program and in processes."""

import json
import re
import signal
import time

import pytest

import runs
from fake_loggers import read_store
from small_sweeps import WEIGHT, sweep

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("programs"), pytest.mark.timeout(400)]


def until_step(process, workdir, step):
    """Waits until a run has logged this step."""
    give_up = time.monotonic() + 120
    while runs.last_step(workdir) < step:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up
        time.sleep(0.02)


LONG = (f"{WEIGHT}=1,3", "steps=240", "checkpoint.every=20")
_CALM = {}  # of each mode, the digests and the rows of a sweep that was never killed


def result(workdir):
    """Returns the digest and the rows of each member of a long sweep."""
    members = [workdir / "members" / name for name in ("weight=1", "weight=3")]
    return [(runs.call("digest", member).out, runs.rows(member)) for member in members]


@pytest.mark.parametrize(("how", "kills"), [(signal.SIGKILL, (60, 120)), (signal.SIGTERM, (60,))])
@pytest.mark.parametrize("mode", ["vmap", "processes"])
def test_a_killed_sweep_goes_on(config, tmp_path, mode, how, kills):
    """It ends with the bits of a sweep that was never killed, and its loggers get every step once.

    Members save one after another, so the kill may come when only some of them have a step.
    """
    words, workdir = [*LONG, "--members", mode], tmp_path / "killed"
    if mode not in _CALM:
        calm = sweep(config, tmp_path / "calm", *words)
        assert calm.code == 0, calm.err
        _CALM[mode] = result(tmp_path / "calm")
    words.append("log.to=fake_loggers:OnDisk")
    for until in kills:
        process = runs.start(["sweep", config, *words, "--workdir", workdir])
        until_step(process, workdir / "members" / "weight=1", until)
        process.send_signal(how)
        _, err = process.communicate(timeout=120)
        assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 75), err
    give_up = time.monotonic() + 120
    while True:  # a process of a member may still be saving
        resumed = sweep(config, workdir, *words)
        if "another run is training" not in resumed.err or time.monotonic() > give_up:
            break
    assert resumed.code == 0, resumed.err
    assert "note:" not in resumed.err
    assert result(workdir) == _CALM[mode]
    for member in (workdir / "members").iterdir():
        sent = read_store(member)
        assert [row["step"] for row in sent] == list(range(0, 241, 5))
        logged = [row["loss/generator"] for row in runs.rows(member)]
        assert [row["loss/generator"] for row in sent[1:]] == logged
        assert [row["step"] for row in sent if "metrics/frechet" in row] == list(range(10, 241, 10))
        assert json.loads((member / "loggers.json").read_text())["sent"] == {"fake_loggers:OnDisk": 240}


def test_a_stage_goes_on(config, tmp_path):
    """A sweep that is killed in its last stage trains no earlier one again."""
    words = [f"{WEIGHT}=1,100", "steps=400", "checkpoint.every=20", "--halving", "frechet", "--members", "vmap"]
    calm = sweep(config, tmp_path / "calm", *words)
    best = re.findall(r"best: (\S+) ", calm.err)[0]
    process = runs.start(["sweep", config, *words, "--workdir", tmp_path / "killed"])
    until_step(process, tmp_path / "killed" / "members" / best, 260)
    process.kill()
    process.communicate()
    resumed = sweep(config, tmp_path / "killed", *words)
    assert resumed.code == 0, resumed.err
    assert int(re.findall(r"resuming at step (\d+)", resumed.err)[0]) >= 240
    assert "/200" not in resumed.err
    pair = (runs.call("digest", tmp_path / folder / "members" / best).out for folder in ("calm", "killed"))
    assert len(set(pair)) == 1
