"""Checkpoints: exact bits, whole or not there, and never the last good one lost. Every test has real files."""

import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from absl import logging as absl_logging
from flax import struct

from devices import run_python
from gan_jax.checkpoint import Checkpoints
from gan_jax.checkpoint.digest import leaf_digests, state_digest
from gan_jax.checkpoint.manifest import read_manifest, write_manifest
from gan_jax.errors import NonFiniteError, UserError

_TX = optax.adam(1e-2)


class Game(struct.PyTreeNode):
    step: Any
    key: Any
    params: dict[str, Any]
    opt_state: Any
    penalties: tuple


def make_game(seed: int = 0) -> Game:
    key = jax.random.key(seed)
    params = {
        "Dense_0": {"kernel": jax.random.normal(key, (8, 4)), "bias": jnp.full((4,), 1 / 3, jnp.bfloat16)},
        "mask": jnp.array([True, False]),
    }
    opt_state = _TX.init({"w": params["Dense_0"]["kernel"]})
    _, opt_state = _TX.update({"w": jnp.full((8, 4), 0.1)}, opt_state)
    rbg = jax.random.split(jax.random.key(seed, impl="rbg"), 4)
    return Game(jnp.int32(seed), key, params, opt_state, (rbg, (), jnp.zeros((0, 3)), jnp.float32(-0.0)))


def abstract(state: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def save_all(directory: Path, *steps: int, keep: int = 2) -> None:
    with Checkpoints(directory, keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_game(step), {"at": step})


def assert_same(state: Any, expected: Any) -> None:
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    assert leaf_digests(state) == leaf_digests(expected)


def test_bits_types_and_structure_come_back(tmp_path):
    game = make_game(5)
    record = {"config": {"lr": 0.1, "names": ["a", "é"]}, "big": 2**60, "none": None}
    with Checkpoints(tmp_path / "deep" / "er") as checkpoints:
        checkpoints.save(5, game, record)
        checkpoints.wait()
        manifest = checkpoints.manifest(5)
        for target in (abstract(game), game):
            restored = checkpoints.restore(target)
            assert restored is not None
            assert (restored.step, restored.record, restored.passed_over) == (5, record, [])
            assert_same(restored.state, game)
            assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored.state))
        assert checkpoints.verify(5) is None
    assert manifest["leaves"] == leaf_digests(game)
    assert manifest["digest"] == state_digest(game)
    draw = [jax.random.bits(state.penalties[0][1], (3,)) for state in (restored.state, game)]
    np.testing.assert_array_equal(*draw)
    # Orbax alone opens it too: the leaves by their paths, on the host, whatever the devices are.
    plain = ocp.StandardCheckpointer().restore(tmp_path / "deep" / "er" / "5" / "state")
    np.testing.assert_array_equal(plain["params/Dense_0/kernel"], game.params["Dense_0"]["kernel"])


def test_host_leaves_stay_on_the_host(tmp_path):
    state = {"rows": np.arange(6, dtype=np.int64).reshape(2, 3), "count": 3, "w": jnp.ones(2)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
        state["rows"][:] = -1  # the copy was taken when save returned
        restored = checkpoints.restore(state)
    assert restored is not None
    assert isinstance(restored.state["rows"], np.ndarray)
    np.testing.assert_array_equal(restored.state["rows"], [[0, 1, 2], [3, 4, 5]])
    assert restored.state["count"] == 3


def test_a_state_may_be_donated_once_save_returns_and_once_restored(tmp_path):
    # A matrix large enough that its copy is still under way when the next step overwrites it.
    step = jax.jit(lambda x: {"w": x["w"] * 1.5 + 1, "n": x["n"] + 1}, donate_argnums=0)
    state = {"w": jnp.arange(3 << 18, dtype=jnp.float32).reshape(3, -1) / 7, "n": jnp.int32(0)}
    expected = {}
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for n in range(3):
            expected[n] = np.array(state["w"])
            checkpoints.save(n, state, {})
            before, state = state, step(state)
            assert before["w"].is_deleted()
            state = step(step(state))
        checkpoints.wait()
        for n in range(3):
            restored = checkpoints.restore(abstract(state), n)
            assert restored is not None
            np.testing.assert_array_equal(np.array(restored.state["w"]), expected[n])
        again = restored.state
        for _ in range(3):
            again = step(again)
        assert_same(again, state)


def test_keep(tmp_path):
    unfinished = tmp_path / "15" / "state.orbax-checkpoint-tmp"
    mine = tmp_path / "1" / "notes.txt"
    for path in (unfinished, mine.parent):
        path.mkdir(parents=True)
    mine.write_text("mine")
    save_all(tmp_path, 10, 20, 30)
    assert Checkpoints(tmp_path).steps() == [20, 30]
    assert mine.read_text() == "mine"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["1", "20", "30"]
    save_all(tmp_path, 40, 50, keep=3)
    assert Checkpoints(tmp_path).steps() == [30, 40, 50]
    with pytest.raises(UserError, match="keep=0"):
        Checkpoints(tmp_path, keep=0)


def test_on_the_grid_what_was_never_finished_is_no_checkpoint(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(40, make_game(), {"grid": False})
        checkpoints.wait()
        (tmp_path / "50").mkdir()
        assert checkpoints.restore(abstract(make_game()), grid=True) is None
        assert checkpoints.restore(abstract(make_game())).step == 40


@pytest.mark.parametrize("metrics", [[1], "frechet", {"frechet": 10**400}, {"frechet": True}, {"frechet": None}])
def test_a_record_from_elsewhere_has_no_best(tmp_path, metrics):
    with Checkpoints(tmp_path, best=("frechet", False)) as checkpoints:
        checkpoints.save(1, make_game(), {"metrics": metrics})
        checkpoints.wait()
        assert checkpoints.best() is None
        checkpoints.save(2, make_game(1), {"metrics": {"frechet": 3}})
        checkpoints.wait()
        assert checkpoints.best() == 2


def test_a_damaged_checkpoint_does_not_count_as_kept(tmp_path):
    save_all(tmp_path, 10, 20)
    next((tmp_path / "20" / "state" / "d").iterdir()).unlink()
    shutil.copytree(tmp_path, tmp_path.with_name("further"))
    save_all(tmp_path.with_name("further"), 30)
    assert Checkpoints(tmp_path.with_name("further")).steps() == [10, 20, 30]
    save_all(tmp_path, 15, keep=1)  # taken up again from 10; 20 is damaged, and newer
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.steps() == [15, 20]
        restored = checkpoints.restore(make_game())
        assert restored is not None
        assert restored.step == 15
        assert [step for step, _ in restored.passed_over] == [20]
        checkpoints.save(20, make_game(20), {})  # the same digest as the damaged one, and yet written
        checkpoints.wait()
        assert checkpoints.verify(20) is None
        assert checkpoints.steps() == [20]


def _damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(data[:-1])
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_damage_to_any_file_is_noticed_and_the_older_checkpoint_used(tmp_path, how):
    save_all(tmp_path, 1, 2)
    files = [path for path in (tmp_path / "2").rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "manifest.json"} <= names
    checkpoints = Checkpoints(tmp_path)
    for path in files:
        data = path.read_bytes()
        _damage(path, how)
        phrase = checkpoints.verify(2)
        assert phrase is not None
        assert path.relative_to(tmp_path / "2").as_posix() in phrase
        restored = checkpoints.restore(make_game())
        assert restored is not None
        assert (restored.step, restored.passed_over) == (1, [(2, phrase)])
        assert_same(restored.state, make_game(1))
        if (tmp_path / "2" / "manifest.json").exists():
            with pytest.raises(UserError, match=r"step 2 .* cannot be used") as caught:
                checkpoints.restore(make_game(), 2)
            assert phrase in str(caught.value)
        path.write_bytes(data)
    assert checkpoints.verify(2) is None


def test_every_byte_of_the_manifest_counts(tmp_path):
    save_all(tmp_path, 1)
    path, checkpoints = tmp_path / "1" / "manifest.json", Checkpoints(tmp_path)
    data = path.read_bytes()
    for position in range(0, len(data), 11):
        for bit in (1, 32):
            path.write_bytes(data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :])
            assert checkpoints.verify(1) is not None, position


def test_values_are_compared_after_reading(tmp_path):
    save_all(tmp_path, 1, 2)
    manifest = read_manifest(tmp_path / "2")
    manifest["leaves"]["params/Dense_0/bias"] = "0" * 32
    write_manifest(tmp_path / "2", manifest)
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.verify(2) is None  # every file is what it was
    restored = checkpoints.restore(make_game())
    assert restored is not None
    reason = "the values of params/Dense_0/bias are not those that were saved"
    assert (restored.step, restored.passed_over) == (1, [(2, reason)])


def test_nothing_saved_and_nothing_usable(tmp_path):
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.restore(make_game()) is None
    assert checkpoints.steps() == []
    with pytest.raises(UserError, match=r"no checkpoint of step 3 .*: there is none at all"):
        checkpoints.restore(make_game(), 3)
    save_all(tmp_path / "two", 1, 2)
    for step in (1, 2):
        (tmp_path / "two" / str(step) / "state" / "_METADATA").unlink()
    checkpoints = Checkpoints(tmp_path / "two")
    both = "step 2: state/_METADATA is missing; step 1: state/_METADATA is missing"
    with pytest.raises(UserError, match=both):
        checkpoints.restore(make_game())
    assert checkpoints.steps() == [1, 2]
    with pytest.raises(UserError, match=r"step 3 .*: the steps there are 1, 2"):
        checkpoints.restore(make_game(), 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda g: g.replace(step=jnp.float32(0)),
            r"step is int32\[\] in the checkpoint and float32\[\] in this run",
        ),
        (lambda g: g.replace(key=jax.random.key(0, impl="rbg")), r"key is key<fry>\[\] .* and key<rbg>\[\] in"),
        (lambda g: g.replace(params={**g.params, "new": g.step}), r"params/new is absent in .* and int32\[\] in"),
        (lambda g: g.replace(opt_state=()), r"opt_state/0/count is int32\[\] in .* and absent in this run"),
    ],
)
def test_another_structure_is_the_users_mistake_and_no_damage(tmp_path, change, sentence):
    save_all(tmp_path, 1, 2)
    with pytest.raises(UserError, match=r"step 2 .* is of another configuration: " + sentence):
        Checkpoints(tmp_path).restore(abstract(change(make_game())))


def test_a_state_that_is_not_finite_is_refused_and_displaces_nothing(tmp_path):
    bias = jnp.array([1, np.nan, 2, 3], jnp.bfloat16)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, make_game(1), {})
        game = make_game(2)
        checkpoints.save(2, game.replace(params={**game.params, "Dense_0": {"bias": bias}}), {})
        with pytest.raises(NonFiniteError, match=r"step 2 .* params/Dense_0/bias is not .* checkpoint is step 1"):
            checkpoints.save(3, game, {})
        assert checkpoints.steps() == [1]
        assert checkpoints.verify(1) is None
        checkpoints.save(1, {"w": jnp.array([np.inf]), "v": bias}, {})  # nor what has its own step
        with pytest.raises(NonFiniteError, match="v and 1 more of its leaves are not finite"):
            checkpoints.wait()
        assert checkpoints.verify(1) is None
        checkpoints.save(3, game, {})
    assert Checkpoints(tmp_path).steps() == [3]


def test_an_error_of_writing_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    checkpoints = Checkpoints(tmp_path / "file" / "below")
    checkpoints.save(1, make_game(), {})
    with pytest.raises(UserError, match=r"saving step 1 in .*below failed: .*Not a directory"):
        checkpoints.wait()
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds thesis.tex"), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, make_game(), {})
    assert (tmp_path / "7" / "thesis.tex").exists()
    interrupted = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt), Checkpoints(tmp_path) as checkpoints:  # noqa: PT012
        checkpoints.save(7, make_game(), {})
        raise interrupted
    assert "thesis.tex" in interrupted.__notes__[0]


def test_a_full_disk_is_met_before_anything_is_written(tmp_path, monkeypatch):
    save_all(tmp_path, 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"step 2 needs 0 MB and .* has 0 MB left for it"):
        save_all(tmp_path, 2)
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]
    assert Checkpoints(tmp_path).verify(1) is None


def test_the_same_step_again(tmp_path):
    save_all(tmp_path, 1)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "1" / "state").rglob("*")}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_game(1), {"at": 1})
        checkpoints.save(1, make_game(1), {"other": "record"})
        checkpoints.wait()
        assert checkpoints.manifest(1)["record"] == {"other": "record"}
        assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "1" / "state").rglob("*")}
        for seed in (8, 9):
            checkpoints.save(1, make_game(seed), {})
            restored = checkpoints.restore(make_game())
            assert restored is not None
            assert_same(restored.state, make_game(seed))
            assert len(list((tmp_path / "1").iterdir())) == 2
    assert Checkpoints(tmp_path).verify(1) is None


def test_orbax_is_quiet_and_others_are_not(tmp_path, capfd):
    caught: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: caught.append(record.pathname)
    logger = absl_logging.get_absl_logger()
    level = logger.level
    logger.addHandler(handler)
    try:
        logger.setLevel(logging.DEBUG)
        save_all(tmp_path, 1)
        Checkpoints(tmp_path).restore(make_game())
        assert caught == []
        absl_logging.warning("of the user")
        assert caught == [__file__]
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
    assert "orbax" not in capfd.readouterr().err.lower()


_FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from test_checkpoints import abstract, assert_same, make_game
from gan_jax.checkpoint import Checkpoints

mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
place = lambda *spec: jax.NamedSharding(mesh, jax.P(*spec))
split = lambda x: place("data") if x.ndim and x.shape[0] and x.shape[0] % 4 == 0 else place()
game = make_game(1)

# From one device onto four, replicated, and from there sharded.
target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place()), abstract(game))
whole = Checkpoints(one).restore(target).state
assert_same(whole, game)
assert all(x.sharding.is_fully_replicated and len(x.sharding.device_set) == 4 for x in jax.tree.leaves(whole))
sharded = jax.tree.map(lambda x: jax.device_put(x, split(x)), whole)
assert not sharded.params["Dense_0"]["kernel"].sharding.is_fully_replicated

# Saves while steps with collectives run, donated at once: no deadlock, and the bits of the moment of save.
step = jax.jit(lambda x, n: (x + x.sum() * 1e-6, n + 1), donate_argnums=(0, 1))
x, n = jax.device_put((np.arange(64.0, dtype=np.float32).reshape(16, 4), np.int32(0)), (place("data"), place()))
expected = {}
with Checkpoints(four, keep=30) as checkpoints:
    for i in range(25):
        expected[i] = np.array(x)
        checkpoints.save(i, {"x": x, "n": n}, {})
        for _ in range(4):
            x, n = step(x, n)
            jax.block_until_ready(n)
    target = {"x": jax.ShapeDtypeStruct((16, 4), jnp.float32, sharding=place(None, "data")), "n": n}
    for i in range(0, 25, 6):
        state = checkpoints.restore(target, i).state
        assert np.array_equal(np.asarray(state["x"]), expected[i]) and int(state["n"]) == 4 * i
        assert state["x"].sharding.spec == jax.P(None, "data")
    checkpoints.save(100, sharded, {})
"""


def test_onto_other_devices(tmp_path):
    save_all(tmp_path / "one", 1)
    where = f"one, four = {str(tmp_path / 'one')!r}, {str(tmp_path / 'four')!r}"
    run_python(where + _FOUR_DEVICES, devices=4)
    restored = Checkpoints(tmp_path / "four").restore(make_game())
    assert restored is not None
    assert restored.step == 100
    assert_same(restored.state, make_game(1))


# Forks before JAX starts its threads; each child kills itself at its nth touch of the file system.
_KILLED = """
import os, shutil, signal, sys, warnings
warnings.simplefilter("ignore")
from gan_jax.checkpoint import Checkpoints
import numpy as np

TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}

def kill_at(n, home):
    count = 0
    def hook(event, arguments):
        nonlocal count
        if event in TOUCHES and (event in ("os.remove", "os.rmdir") or home in str(arguments[0])):
            count += 1
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

n = 1
while True:
    home = os.path.join(root, f"at_{n}")
    shutil.copytree(os.path.join(root, "before"), home)
    child = os.fork()
    if child == 0:
        kill_at(n, home)
        with Checkpoints(home) as checkpoints:
            checkpoints.save(step, {"w": np.arange(1000.0, dtype=np.float32) * 3}, {"new": True})
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert os.waitstatus_to_exitcode(status) == 0
        break
    n += stride
print(n)
"""


def _check_killed(tmp_path: Path, step: int, stride: int) -> None:
    old = {n: {"w": np.arange(1000.0, dtype=np.float32) * n} for n in (1, 2)}
    new = {"w": np.arange(1000.0, dtype=np.float32) * 3}
    with Checkpoints(tmp_path / "before") as checkpoints:
        for n, state in old.items():
            checkpoints.save(n, state, {"new": False})
    completed = int(run_python(f"root, stride, step = {str(tmp_path)!r}, {stride}, {step}" + _KILLED))
    assert completed > 30  # there were that many places to die at
    seen = set()
    for n in range(1, completed, stride):
        with Checkpoints(tmp_path / f"at_{n}") as checkpoints:
            assert all(checkpoints.verify(standing) is None for standing in checkpoints.steps()), n
            restored = checkpoints.restore(new)
            assert restored is not None
            seen.add(restored.record["new"])
            assert_same(restored.state, new if restored.record["new"] else old[restored.step])
            assert restored.step == (step if restored.record["new"] else 2)
            checkpoints.save(step, new, {"new": True})
            checkpoints.wait()
            assert checkpoints.steps() == ([2, 3] if step == 3 else [1, 2])
            assert checkpoints.verify(step) is None
            assert sorted(entry.name for entry in checkpoints.directory.iterdir()) == [
                str(standing) for standing in checkpoints.steps()
            ]
            assert len(list((checkpoints.directory / str(step)).iterdir())) == 2
    assert seen == {False, True}


@pytest.mark.parametrize("step", [3, pytest.param(2, marks=pytest.mark.slow)], ids=["new", "replaced"])
def test_sigkill_leaves_a_whole_checkpoint_or_none(tmp_path, step):
    _check_killed(tmp_path, step, 8)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 2], ids=["new", "replaced"])
def test_sigkill_at_every_touch_of_the_file_system(tmp_path, step):
    _check_killed(tmp_path, step, 1)
