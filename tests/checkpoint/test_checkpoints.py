"""Tests of saving and restoring checkpoints in real files: exact bits, pruning, and other devices."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import logging as absl_logging

from devices import run_python
from gan_jax.checkpoint import Catalogue, Checkpoints
from gan_jax.checkpoint.digest import leaf_digests, state_digest
from gan_jax.errors import UserError
from states import abstract, assert_same, make_state, save_all


def test_bits_types_and_structure_are_restored(tmp_path):
    state = make_state(5)
    record = {"config": {"lr": 0.1, "names": ["a", "é"]}, "big": 2**60, "none": None}
    with Checkpoints(tmp_path / "deep" / "er") as checkpoints:
        checkpoints.save(5, state, record)
        checkpoints.wait()
        manifest = checkpoints.manifest(5)
        for target in (abstract(state), state):
            restored = checkpoints.restore(target)
            assert restored is not None
            assert (restored.step, restored.record, restored.passed_over) == (5, record, [])
            assert_same(restored.state, state)
            assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored.state))
        assert checkpoints.verify(5) is None
    assert manifest["leaves"] == leaf_digests(state)
    assert manifest["digest"] == state_digest(state)
    draw = [jax.random.bits(saved.penalties[0][1], (3,)) for saved in (restored.state, state)]
    np.testing.assert_array_equal(*draw)
    # Orbax alone can read it too: the leaves by their paths, in host memory.
    by_orbax = ocp.StandardCheckpointer().restore(tmp_path / "deep" / "er" / "5" / "state")
    np.testing.assert_array_equal(by_orbax["params/Dense_0/kernel"], state.params["Dense_0"]["kernel"])


def test_host_leaves_stay_on_the_host(tmp_path):
    state = {"rows": np.arange(6, dtype=np.int64).reshape(2, 3), "count": 3, "w": jnp.ones(2)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
        state["rows"][:] = -1  # does not change the copy that `save` took
        restored = checkpoints.restore(state)
    assert restored is not None
    assert isinstance(restored.state["rows"], np.ndarray)
    np.testing.assert_array_equal(restored.state["rows"], [[0, 1, 2], [3, 4, 5]])
    assert restored.state["count"] == 3


def test_a_state_may_be_donated_when_save_returns_and_when_it_is_restored(tmp_path):
    # The matrix is so large that its copy is not finished when the next step overwrites the matrix.
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


def test_the_newest_checkpoints_are_kept(tmp_path):
    unfinished = tmp_path / "15" / "state.orbax-checkpoint-tmp"
    foreign = tmp_path / "1" / "notes.txt"
    for path in (unfinished, foreign.parent):
        path.mkdir(parents=True)
    foreign.write_text("notes")
    save_all(tmp_path, 10, 20, 30)
    assert Checkpoints(tmp_path).steps() == [20, 30]
    assert foreign.read_text() == "notes"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["1", "20", "30"]
    save_all(tmp_path, 40, 50, keep=3)
    assert Checkpoints(tmp_path).steps() == [30, 40, 50]
    with pytest.raises(UserError, match="keep=0"):
        Checkpoints(tmp_path, keep=0)


def test_on_the_grid_an_unfinished_save_is_no_checkpoint(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(40, make_state(), {"grid": False})
        checkpoints.wait()
        (tmp_path / "50").mkdir()
        assert checkpoints.restore(abstract(make_state()), grid=True) is None
        assert checkpoints.restore(abstract(make_state())).step == 40


@pytest.mark.parametrize("metrics", [[1], "frechet", {"frechet": 10**400}, {"frechet": True}, {"frechet": None}])
def test_metrics_that_are_not_numbers_have_no_best(tmp_path, metrics):
    with Checkpoints(tmp_path, best=("frechet", False)) as checkpoints:
        checkpoints.save(1, make_state(), {"metrics": metrics})
        checkpoints.wait()
        assert checkpoints.best() is None
        checkpoints.save(2, make_state(1), {"metrics": {"frechet": 3}})
        checkpoints.wait()
        assert checkpoints.best() == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda s: s.replace(step=jnp.float32(0)),
            r"step is int32\[\] in the checkpoint and float32\[\] in this run",
        ),
        (lambda s: s.replace(key=jax.random.key(0, impl="rbg")), r"key is key<fry>\[\] .* and key<rbg>\[\] in"),
        (lambda s: s.replace(params={**s.params, "new": s.step}), r"params/new is absent in .* and int32\[\] in"),
        (lambda s: s.replace(opt_state=()), r"opt_state/0/count is int32\[\] in .* and absent in this run"),
    ],
)
def test_another_structure_is_a_user_error_and_not_damage(tmp_path, change, sentence):
    save_all(tmp_path, 1, 2)
    with pytest.raises(UserError, match=r"step 2 .* has another configuration: " + sentence):
        Checkpoints(tmp_path).restore(abstract(change(make_state())))


def test_a_step_is_saved_again(tmp_path):
    save_all(tmp_path, 1)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "1" / "state").rglob("*")}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1), {"at": 1})
        checkpoints.save(1, make_state(1), {"other": "record"})
        checkpoints.wait()
        assert checkpoints.manifest(1)["record"] == {"other": "record"}
        assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "1" / "state").rglob("*")}
        for seed in (8, 9):
            checkpoints.save(1, make_state(seed), {})
            restored = checkpoints.restore(make_state())
            assert restored is not None
            assert_same(restored.state, make_state(seed))
            assert len(list((tmp_path / "1").iterdir())) == 2
    assert Checkpoints(tmp_path).verify(1) is None


def test_log_entries_of_orbax_alone_are_dropped(tmp_path, capfd):
    caught: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: caught.append(record.pathname)
    logger = absl_logging.get_absl_logger()
    level = logger.level
    logger.addHandler(handler)
    try:
        logger.setLevel(logging.DEBUG)
        save_all(tmp_path, 1)
        Checkpoints(tmp_path).restore(make_state())
        assert caught == []
        absl_logging.warning("from the user")
        assert caught == [__file__]
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
    assert "orbax" not in capfd.readouterr().err.lower()


_FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from states import abstract, assert_same, make_state
from gan_jax.checkpoint import Catalogue, Checkpoints

mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
place = lambda *spec: jax.NamedSharding(mesh, jax.P(*spec))
split = lambda x: place("data") if x.ndim and x.shape[0] and x.shape[0] % 4 == 0 else place()
state = make_state(1)

# Restored from one device to four, replicated, and then sharded.
target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place()), abstract(state))
whole = Checkpoints(one).restore(target).state
assert_same(whole, state)
assert all(x.sharding.is_fully_replicated and len(x.sharding.device_set) == 4 for x in jax.tree.leaves(whole))
sharded = jax.tree.map(lambda x: jax.device_put(x, split(x)), whole)
assert not sharded.params["Dense_0"]["kernel"].sharding.is_fully_replicated

# Saved while steps with collectives run, and donated at once: no deadlock, and the bits at the time of the save.
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


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_state_is_restored_on_other_devices(tmp_path):
    save_all(tmp_path / "one", 1)
    paths = f"one, four = {str(tmp_path / 'one')!r}, {str(tmp_path / 'four')!r}"
    run_python(paths + _FOUR_DEVICES, devices=4)
    restored = Checkpoints(tmp_path / "four").restore(make_state())
    assert restored is not None
    assert restored.step == 100
    assert_same(restored.state, make_state(1))


def test_archived_checkpoints_are_never_pruned(tmp_path):
    """Also by a later writer that archives nothing, and if all others are gone."""
    for first in (1, 6):
        with Checkpoints(tmp_path, keep=1) as checkpoints:
            for step in range(first, first + 5):
                checkpoints.save(step, {"w": jnp.full(2, step)}, {"archived": True} if step in (2, 4) else {})
    assert Catalogue(tmp_path).steps() == [2, 4, 10]
