"""A workdir from elsewhere: a link in it leads no command out of it, and a pipe makes none wait.

The tests know every name in a workdir that a command opens, makes, renames or removes: they record them.
"""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import runs
from devices import run_json
from gan_jax.files.folder import Folder
from gan_jax.train.workdir import locked
from runs import call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]
FEATURES = ["--features", "fake_features:quarters", "--allow", "fake_features", "--reference", 8]
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.listdir", "os.scandir")


def commands(config: Path, workdir: Path, steps: int) -> dict[str, list[object]]:
    return {
        "train": ["train", config, f"steps={steps}", "--workdir", workdir],
        "sample": ["sample", workdir, "--count", 4],
        "evaluate": ["evaluate", workdir, "--count", 8, *FEATURES],
        "checkpoints": ["checkpoints", workdir],
        "digest": ["digest", workdir],
    }


def record(config: str, folder: str) -> None:
    """Prints every name below a folder that the commands use there, in a run and in a resumed one.

    It runs in a process of its own: what hears of each opened file can't be switched off again.
    """
    names: set[str] = set()

    def note(path: object) -> None:
        for name in ("run", "resumed"):
            if isinstance(path, str) and path.startswith(f"{folder}/{name}/"):
                names.add(path.removeprefix(f"{folder}/{name}/"))

    def hear(event: str, values: tuple[Any, ...]) -> None:
        if event in EVENTS:
            for value in values[:2]:
                note(value)

    def above(self: Folder, name: str, make: bool = False) -> Any:
        note(str(self.path / name))
        return before(self, name, make)

    before = Folder._above
    Folder._above = above  # type: ignore[method-assign]  # it opens files by handle, so the event has no path
    sys.addaudithook(hear)
    workdir, resumed = Path(folder, "run"), Path(folder, "resumed")
    for words in commands(Path(config), workdir, 20).values():
        outcome = call(*words)
        assert outcome.code == 0, outcome.err
    shutil.copytree(workdir, resumed)  # a resumed run opens more: what it reads, and what it makes anew
    assert call(*commands(Path(config), resumed, 30)["train"]).code == 0
    there = {path.relative_to(home).as_posix() for home in (workdir, resumed) for path in home.rglob("*")}
    print(json.dumps(sorted(name for name in names | there if not name.endswith(".tmp") and "*" not in name)))


class Recorded(NamedTuple):
    workdir: Path
    names: list[str]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    text = runs.MLP.replace("tensorboard=False", "tensorboard=True").replace("gif=False", "gif=True")
    return runs.write_config(tmp_path_factory.mktemp("config"), text)


@pytest.fixture(scope="module")
def recorded(config, tmp_path_factory):
    """A run that every command has read, and the names that the commands used."""
    folder = tmp_path_factory.mktemp("recorded")
    names = run_json(f"import test_links; test_links.record({str(config)!r}, {str(folder)!r})")
    assert {".lock", "config.json", "metrics.jsonl", "samples/step_00000030.png", "checkpoints/30"} <= set(names)
    return Recorded(folder / "run", names)


@pytest.fixture
def outside(tmp_path):
    """A folder beside the workdir, with files and folders that must not change."""
    folder = tmp_path / "outside"
    (folder / "step_00000010.png").mkdir(parents=True)
    for name in ("mine", "10", "step_00000090.png", "step_00000010.png/mine", "manifest.json"):
        (folder / name).write_bytes(b"mine")
    before = tree(folder)
    yield folder
    assert tree(folder) == before


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def put(kind: str, path: Path, outside: Path) -> None:
    """Puts something in the place of a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    make: dict[str, Callable[[], object]] = {
        "a link to a file": lambda: path.symlink_to(outside / "mine"),
        "a link to a folder": lambda: path.symlink_to(outside),
        "a link to nothing": lambda: path.symlink_to(outside / "new"),
        "a hard link": lambda: os.link(outside / "mine", path),
        "a pipe": lambda: os.mkfifo(path),
        "a file": lambda: path.write_bytes(b"\x00mine"),
        "a folder": lambda: path.mkdir(),
    }
    make[kind]()


def check(outcome: runs.Outcome) -> None:
    """Checks that a command did its work, or said in its last line why not."""
    assert outcome.code in (0, 2)
    assert "Traceback" not in outcome.err
    if outcome.code == 2:
        assert outcome.err.splitlines()[-1].startswith("gan-jax: ")


PLACES = [
    ".lock", "config.json", "workdir.json", "metrics.jsonl", "evaluations.jsonl", "samples", "checkpoints",
    "tensorboard", "report.html", "samples.gif", "samples/step_00000010.png", "samples/reals.png",
    "checkpoints/10", "checkpoints/30",
]  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_a_link_is_refused_before_the_training(name, config, trained, outside, tmp_path):
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    put("a link to a folder" if "." not in name else "a link to a file", workdir / name, outside)
    before = tree(workdir)
    sentence(call(*commands(config, workdir, 30)["train"]), str(workdir / name), "is a link, but a run has a f")
    assert tree(workdir) == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluations.jsonl", "samples", "checkpoints/10"])
def test_a_pipe_is_refused_by_every_command(name, config, trained, outside, tmp_path):
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    put("a pipe", workdir / name, outside)
    for words in commands(config, workdir, 30).values():
        sentence(call(*words), f"{workdir / name} is a pipe, but a run has a f", "remove it")


@pytest.mark.slow
def test_a_hard_link_is_not_written_through(config, recorded, outside, tmp_path):
    workdir = Path(shutil.copytree(recorded.workdir, tmp_path / "run"))
    names = [".lock", "metrics.jsonl", "evaluations.jsonl", "config.json", "report.html"]
    for name in names:
        shutil.copy(workdir / name, outside / name)
        (workdir / name).unlink()
        os.link(outside / name, workdir / name)
    before = tree(outside)
    for words in commands(config, workdir, 30).values():
        assert call(*words).code == 0
    assert tree(outside) == before
    for name in names:
        (outside / name).unlink()


def test_a_backup_of_hard_links_does_not_unlock(config, trained, tmp_path):
    """As `cp -al` makes it while the run trains."""
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    with locked(workdir):
        os.link(workdir / ".lock", tmp_path / "backup")
        sentence(call(*commands(config, workdir, 30)["train"]), "another run is training in")


def test_what_is_planted_for_tensorboard_is_refused(config, trained, outside, tmp_path):
    """Its writer makes files whose names can be guessed."""
    workdir = Path(shutil.copytree(trained, tmp_path / "run"))
    now = int(time.time())
    for second in range(now, now + 60):
        name = f"events.out.tfevents.{second}.{socket.gethostname()}"
        (workdir / "tensorboard" / name).symlink_to(outside / "mine")
    sentence(call(*commands(config, workdir, 30)["train"]), "is a link, but a run has a file there")


@pytest.mark.slow
def test_a_workdir_that_is_a_link_works(config, recorded, tmp_path):
    workdir = Path(shutil.copytree(recorded.workdir, tmp_path / "run"))
    (tmp_path / "link").symlink_to(workdir)
    for words in commands(config, tmp_path / "link", 30).values():
        outcome = call(*words)
        assert outcome.code == 0, outcome.err
    assert (tmp_path / "link").is_symlink()
    assert runs.checkpoints(workdir) == [10, 20, 30]


def places(names: list[str]) -> list[str]:
    """Returns the names, and of those that Orbax chooses one for each folder and ending."""
    chosen: dict[object, str] = {}
    for name in names:
        path = Path(name)
        mine = "/state" not in name and not name.startswith("tensorboard/")
        chosen.setdefault(name if mine else (path.parent, path.suffix), name)
    return sorted(chosen.values())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("programs_shared")
@pytest.mark.parametrize("kind", ["a link to a file", "a link to a folder", "a hard link", "a pipe"])
def test_every_name_that_a_command_opens(kind, config, recorded, outside, tmp_path):
    """Whatever is in its place: nothing outside changes, and nothing hangs."""
    names = places(recorded.names)
    for name in names:
        workdir = Path(shutil.copytree(recorded.workdir, tmp_path / "run"))
        put(kind, workdir / name, outside)
        check(call(*commands(config, workdir, 30)["train"]))
        shutil.rmtree(workdir)
    print(f"{len(names)} names as {kind}")
