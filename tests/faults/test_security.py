"""A workdir, data or weights from a stranger run no code, and lead to no file outside their folder."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import runs
from gan_jax import config as configs
from gan_jax.checkpoint import Checkpoints
from gan_jax.checkpoint.digest import leaf_digests
from gan_jax.checkpoint.leftovers import remove_leftovers
from gan_jax.checkpoint.manifest import MANIFEST, read_manifest, sync_files, write_manifest
from gan_jax.errors import UserError
from runs import Outcome, call, sentence

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of a run, to damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that must not exist after the test. Importing the module `strange_code` makes it."""
    path = tmp_path / "ran"
    (tmp_path / "strange_code.py").write_text(f"open({str(path)!r}, 'w')\ndef run(*a, **k): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert pickle.loads(pickle.dumps(Bomb(path))) == 0
    assert path.exists()  # the bomb works
    path.unlink()
    yield path
    assert not path.exists()


COMMANDS = {
    "sample": ["--count", 4],
    "digest": [],
    "evaluate": ["--count", 4, "--reference", 4],
    "checkpoints": [],
}


def commands(workdir: Path) -> dict[str, Outcome]:
    """Runs every command that reads a workdir; each works, or prints one sentence."""
    outcomes = {name: call(name, workdir, *words) for name, words in COMMANDS.items()}
    for outcome in outcomes.values():
        assert outcome.code in (0, 2)
        if outcome.code == 2:
            sentence(outcome)
    return outcomes


def spoil(workdir: Path, change: Mapping[str, object]) -> None:
    """Puts values into config.json, each at its path."""
    path = workdir / "config.json"
    tree = json.loads(path.read_text())
    for place, value in change.items():
        *above, last = place.split(".")
        node = tree
        for part in above:
            node = node[part]
        node[last] = value
    path.write_text(json.dumps(tree))


# ---- names

NAMES = [
    "os:system", "builtins:eval", "builtins:exec", "runpy:run_path", "strange_code:run", "subprocess:run",
    "gan_jax.metrics.features.torch_weights:os", "gan_jax.metrics.features.plain_pickle:pickletools.dis",
    "gan_jax.losses:jax", "gan_jax.losses.jax:jit", "gan_jax.losses:__builtins__", "gan_jax.config:load",
    "gan_jax.cli:main", "gan_jax:config.load", "os.system", "jax", "__import__", "../strange_code", "strange_code",
    "", ":", "a\nb",
]  # fmt: skip


@pytest.mark.parametrize("home", configs.HOMES.values(), ids=configs.HOMES)
def test_no_name_of_a_workdir_leads_out_of_its_home(home, marker):
    for name in NAMES:
        with pytest.raises(UserError) as error:
            configs.resolve(name, home.module, home.attribute, allow=())
        assert str(error.value).splitlines() == [str(error.value)]


BUILT = {"sample", "digest", "evaluate"}  # these commands build the GAN
FIELDS = {
    "generator": BUILT, "loss": BUILT, "latent.with.size": BUILT, "ema.half_life": BUILT, "augment": BUILT,
    "generator_optimizer.with.learning_rate": BUILT, "data.source": {"evaluate"},
    "data.source.with.size": {"evaluate"}, "metrics.features": {"evaluate"},
}  # fmt: skip


SLOW = ("data.source.with.size", "metrics.features")  # three commands build the GAN first


@pytest.mark.parametrize(
    "field", [pytest.param(field, marks=pytest.mark.slow if field in SLOW else []) for field in FIELDS]
)
def test_a_workdir_runs_no_code(field, workdir, marker):
    for name in ("os:system", "strange_code:run"):
        spoil(workdir, {field: {"call": name, "with": {"command": f"touch {marker}"}}})
        outcomes = commands(workdir)
        assert {command for command, outcome in outcomes.items() if outcome.code} == FIELDS[field]
        assert all(f"--allow {name.partition(':')[0]}" in outcomes[command].err for command in FIELDS[field])


@pytest.mark.parametrize("name", ["os:system", "strange_code:run"])
def test_a_run_with_other_names_than_the_users_is_refused(name, config, workdir, marker):
    spoil(workdir, {"generator": {"call": name, "with": {"command": f"touch {marker}"}}})
    sentence(call("train", config, "steps=30", "--workdir", workdir), "this workdir holds another run")


# ---- pickles


def test_data_of_pickles_are_not_loaded(config, workdir, tmp_path, marker):
    np.savez(tmp_path / "data.npz", image=np.array([Bomb(marker)] * 4, dtype=object))
    spoil(workdir, {"data.source": {"call": "npz", "with": {"path": str(tmp_path / "data.npz")}}})
    assert "pickled Python objects" in commands(workdir)["evaluate"].err
    words = ["data.source=npz", f"data.source.path={tmp_path / 'data.npz'}", "--workdir", tmp_path / "new"]
    sentence(call("train", config, *words), "pickled Python objects")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "zipped", "npz"])
def test_weights_of_pickles_are_not_loaded(form, workdir, tmp_path, marker):
    path = tmp_path / ("w.npz" if form == "npz" else "w.pth")
    if form == "npz":
        np.savez(path, w=np.array([Bomb(marker)], dtype=object))
    elif form == "zipped":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"w": Bomb(marker)}, protocol=2))
    else:
        path.write_bytes(pickle.dumps({"w": Bomb(marker)}, protocol=2))
    for name in ("inception", "efficientnet_lite0"):
        spoil(workdir, {"metrics.features": {"call": name, "with": {"weights": str(path)}}})
        assert commands(workdir)["evaluate"].code == 2


def test_checkpoints_of_pickles_are_not_loaded(config, workdir, marker):
    """Every file is a pickle, and the manifest agrees."""
    for home in (workdir / "checkpoints").iterdir():
        for file in (home / "state").rglob("*"):
            if file.is_file():
                file.write_bytes(pickle.dumps(Bomb(marker)))
        manifest = read_manifest(home)
        write_manifest(home, {**manifest, "files": sync_files(home, "state")})
    assert {name for name, outcome in commands(workdir).items() if outcome.code} == {
        "sample",
        "digest",
        "evaluate",
    }
    outcome = call("train", config, "steps=30", "--workdir", workdir)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("gan-jax: no checkpoint in")
    for home in (workdir / "checkpoints").iterdir():
        (home / MANIFEST).write_bytes(pickle.dumps(Bomb(marker)))
    commands(workdir)


# ---- paths

STATE = {"w": jnp.arange(4.0)}


@pytest.fixture
def outside(tmp_path):
    """A folder beside the checkpoints, with a good checkpoint. It must not change."""
    with Checkpoints(tmp_path / "outside") as checkpoints:
        checkpoints.save(1, STATE, {})
    before = runs.files(tmp_path / "outside")
    yield tmp_path / "outside" / "1"
    assert runs.files(tmp_path / "outside") == before


@pytest.fixture
def inside(tmp_path):
    with Checkpoints(tmp_path / "inside") as checkpoints:
        checkpoints.save(1, STATE, {})
    return tmp_path / "inside"


@pytest.mark.parametrize(
    "name", ["../../outside/1/state", "/etc", "state/../../../outside/1/state", ".", "..", ""]
)
@pytest.mark.parametrize("where", ["state", "files"])
def test_a_manifest_names_nothing_outside_of_it(where, name, inside, outside):
    manifest = read_manifest(inside / "1")
    there = {"state": name, "files": {}} if where == "state" else {"files": {**manifest["files"], name: {}}}
    write_manifest(inside / "1", {**manifest, **there})
    with Checkpoints(inside) as checkpoints:
        assert "names a file outside the checkpoint" in str(checkpoints.verify(1))
        with pytest.raises(UserError, match="names a file outside the checkpoint"):
            checkpoints.restore(STATE)


@pytest.mark.parametrize(
    "key", ["step", "state", "files", "leaves", "shapes", "keys", "record", "digest", "written"]
)
@pytest.mark.parametrize(
    "value", [[1], *(pytest.param(value, marks=pytest.mark.slow) for value in (None, "x" * 9, {"state/x": 3}))]
)
def test_a_manifest_of_another_form_is_damaged(key, value, inside):
    manifest = read_manifest(inside / "1")
    write_manifest(inside / "1", {**manifest, key: value})
    with Checkpoints(inside) as checkpoints:
        if checkpoints.verify(1) is not None:
            with pytest.raises(UserError, match=r"no checkpoint in .* can be used \(step 1: "):
                checkpoints.restore(STATE)


def test_a_link_is_no_checkpoint_and_nothing_is_removed_through_it(inside, outside):
    (inside / "2").symlink_to(outside)
    (inside / "3").symlink_to(outside.parent / "nowhere")
    with Checkpoints(inside, keep=1) as checkpoints:
        assert "is a link" in str(checkpoints.verify(2))
        assert checkpoints.restore(STATE).step == 1
        checkpoints.save(4, STATE, {})
        checkpoints.save(5, STATE, {})
        checkpoints.wait()
        assert (inside / "2").is_symlink()
        checkpoints.save(2, STATE, {})
        with pytest.raises(UserError, match="a link"):  # it is not written through the link
            checkpoints.wait()


@pytest.mark.parametrize("part", ["state", "state/more", MANIFEST, "file"])
def test_a_link_inside_a_checkpoint_is_damage(part, inside, outside):
    home = inside / "1"
    if part == "file":
        part = next(iter(read_manifest(home)["files"]))
    path = home / part
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(outside / (part if (outside / part).exists() else "state"))
    with Checkpoints(inside) as checkpoints:
        assert "link" in str(checkpoints.verify(1))
        checkpoints.save(1, STATE, {})  # replaces it; `outside` stays
        checkpoints.wait()
        assert checkpoints.verify(1) is None
        assert leaf_digests(checkpoints.restore(STATE).state) == leaf_digests(STATE)


def test_links_of_an_earlier_save_are_not_written_through(inside, outside):
    home = inside / "1"
    for name in (f"{MANIFEST}.partial", "state.b"):
        (home / name).symlink_to(outside / (MANIFEST if "." in name[6:] else "state"))
    (home / "state-of-mine").mkdir()
    remove_leftovers(home, "state")
    assert sorted(entry.name for entry in home.iterdir()) == [MANIFEST, "state", "state-of-mine"]
    (home / f"{MANIFEST}.partial").symlink_to(outside / MANIFEST)
    write_manifest(home, read_manifest(home))
    with Checkpoints(inside) as checkpoints:
        assert checkpoints.verify(1) is None


def test_a_pipe_in_a_checkpoint_does_not_block(inside):
    name = next(iter(read_manifest(inside / "1")["files"]))
    (inside / "1" / name).unlink()
    os.mkfifo(inside / "1" / name)
    with Checkpoints(inside) as checkpoints:
        assert "is not a regular file" in str(checkpoints.verify(1))
