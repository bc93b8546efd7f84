import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from gan_jax.data import Loader, Order, choose_resident, read_all
from gan_jax.data.digits import digits
from gan_jax.data.gaussians import gaussians
from gan_jax.data.loader import read_resident, resident_spec
from gan_jax.errors import UserError


def take(loader, count):
    with loader:
        return [next(loader) for _ in range(count)]


class Damaged:
    """A source of 300 vectors (n, n), one of which cannot be read."""

    shape, dtype, classes = (2,), np.dtype(np.float32), None

    def __init__(self, error, at=137):
        self.error, self.at = error, at

    def __len__(self):
        return 300

    def read(self, indices):
        if self.at in indices:
            raise type(self.error)(*self.error.args)
        return {"image": np.repeat(np.float32(indices)[:, None], 2, axis=1)}

    def fingerprint(self):
        return "damaged n=300"


class Slow(Damaged):
    """A source that reads some batches more slowly than later ones."""

    def read(self, indices):
        time.sleep(0.05 if indices[0] % 2 else 0.001)
        return {"image": np.repeat(np.float32(indices)[:, None], 2, axis=1)}


@pytest.mark.parametrize(
    ("source", "batch", "batches_per_step", "fuse", "local"),
    [
        (digits(size=12, filter="bicubic", mirror=True), 100, 1, 1, None),
        (digits(channels=3), 600, 2, 2, None),
        (digits(), 64, 1, 4, slice(16, 32)),
        (gaussians(count=5), 4, 3, 1, slice(2, 4)),
        (gaussians(count=3), 8, 1, 1, None),
    ],
)
def test_streamed_and_resident_are_the_same_bits(source, batch, batches_per_step, fuse, local):
    options = dict(seed=3, batch=batch, batches_per_step=batches_per_step, fuse=fuse, local=local)
    held = read_all(source)
    columns = len(range(batch)[local]) if local else batch
    leading = (*([fuse] if fuse > 1 else []), *([batches_per_step] if batches_per_step > 1 else []), columns)
    streamed = take(Loader(source, resident=False, workers=3, prefetch=4, **options), 6)
    resident = take(Loader(source, resident=True, **options), 6)
    for rows, chunk in zip(streamed, resident):
        assert set(chunk) == {"index"}
        assert chunk["index"].dtype == np.int32
        assert chunk["index"].shape == leading
        assert set(rows) == set(held)
        for name in held:
            gathered = held[name][chunk["index"]]
            assert rows[name].dtype == gathered.dtype
            assert rows[name].shape == gathered.shape
            assert rows[name].tobytes() == gathered.tobytes()


def test_batches_are_the_rows_of_the_order():
    source, order = gaussians(count=50), Order(8, 50)
    chunks = take(Loader(source, seed=8, batch=6, batches_per_step=2, fuse=3, start_step=3, resident=True), 2)
    for j, chunk in enumerate(chunks):
        for k in range(3):
            expected = order.step_rows(3 + 3 * j + k, 6, 2)
            np.testing.assert_array_equal(chunk["index"][k], expected)


@pytest.mark.parametrize("resident", [True, False])
def test_a_later_start_is_the_tail(resident):
    options = dict(seed=1, batch=33, fuse=2, resident=resident)
    whole = take(Loader(gaussians(count=100), **options), 8)
    tail = take(Loader(gaussians(count=100), start_step=6, **options), 5)
    for a, b in zip(whole[3:], tail):
        assert [(k, v.tobytes()) for k, v in a.items()] == [(k, v.tobytes()) for k, v in b.items()]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_make_up_the_global_batch(processes):
    source, share = gaussians(count=31), 12 // processes
    options = dict(seed=2, batch=12, batches_per_step=2, resident=False)
    parts = [take(Loader(source, local=slice(p * share, (p + 1) * share), **options), 4) for p in range(processes)]
    for step, whole in enumerate(take(Loader(source, **options), 4)):
        joined = np.concatenate([part[step]["image"] for part in parts], axis=1)
        np.testing.assert_array_equal(joined, whole["image"])


def test_chunks_come_in_order_whichever_thread_is_first():
    source = Slow(None)
    chunks = take(Loader(source, seed=0, batch=7, resident=False, workers=6, prefetch=6), 20)
    got = np.concatenate([chunk["image"][:, 0] for chunk in chunks])
    np.testing.assert_array_equal(got, Order(0, 300).rows(0, 140))


def test_prefetching_is_bounded():
    reads = []

    class Counted(Slow):
        def read(self, indices):
            reads.append(len(indices))
            return super().read(indices)

    with Loader(Counted(None), seed=0, batch=5, resident=False, workers=2, prefetch=3) as loader:
        next(loader)
        time.sleep(0.5)
        assert len(reads) == 1 + 3


@pytest.mark.parametrize("error", [UserError("the file is cut short"), OSError("the file is cut short")])
def test_a_record_that_cannot_be_read_is_named(error):
    before = threading.active_count()
    chunks_before = int(np.flatnonzero(Order(0, 300).rows(0, 300) == 137)[0]) // 10
    loader = Loader(Damaged(error), seed=0, batch=10, resident=False)
    for _ in range(chunks_before):
        next(loader)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"^record 137 of damaged n=300: the file is cut short$"):
        next(loader)
    assert time.monotonic() - start < 5
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(loader)
    with pytest.raises(UserError, match="record 137"):
        read_all(Damaged(error))


def test_an_exception_from_a_bug_in_the_source_keeps_its_type():
    with (
        pytest.raises(ZeroDivisionError) as error,
        Loader(Damaged(ZeroDivisionError("x")), seed=0, batch=300, resident=False) as loader,
    ):
        next(loader)
    assert error.value.__notes__ == ["while reading record 137 of damaged n=300"]


def test_close_joins_the_workers():
    before = threading.active_count()
    with Loader(Slow(None), seed=0, batch=5, resident=False, workers=4, prefetch=8) as loader:
        next(loader)
        assert threading.active_count() > before
    assert threading.active_count() == before
    assert list(loader) == []
    loader.close()


@pytest.mark.slow
def test_an_open_loader_does_not_keep_the_interpreter_from_exiting():
    code = (
        "from gan_jax.data import Loader\nfrom gan_jax.data.gaussians import gaussians\n"
        "loader = Loader(gaussians(count=1000), seed=0, batch=100, resident=False)\n"
        "next(loader)\nprint('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_choose_resident():
    source = digits()  # 1797 * (64 + 4) bytes
    size = 1797 * 68
    assert choose_resident("auto", source, 8 * size + 1)
    assert not choose_resident("auto", source, 8 * size)
    assert choose_resident("auto", source, None)  # this host has more than 1 MB
    assert choose_resident(True, source, 1)
    assert not choose_resident(False, source, None)
    with pytest.raises(UserError, match="auto, true or false"):
        choose_resident("yes", source, None)  # pyright: ignore[reportArgumentType]


def test_a_start_inside_a_chunk_is_refused():
    with pytest.raises(ValueError, match="must be a multiple of fuse=4, not 6"):
        Loader(digits(), seed=0, batch=4, fuse=4, start_step=6, resident=True)
    with pytest.raises(ValueError, match="at least 1"):
        Loader(digits(), seed=0, batch=0, resident=True)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(("fuse", "batches_per_step"), [(1, 1), (3, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("labels", [True, False])
def test_the_loader_says_what_it_gives(resident, fuse, batches_per_step, labels):
    source = digits(size=8)
    options = dict(batch=4, fuse=fuse, batches_per_step=batches_per_step, resident=resident, labels=labels)
    with Loader(source, seed=0, **options) as loader:
        given, spec = next(loader), loader.spec
    assert {name: (x.shape, x.dtype) for name, x in given.items()} == {
        n: (s.shape, s.dtype) for n, s in spec.items()
    }
    whole, spec = read_resident(source, labels), resident_spec(source, labels)
    assert {name: (x.shape, x.dtype) for name, x in whole.items()} == {
        n: (s.shape, s.dtype) for n, s in spec.items()
    }
    assert ("label" in whole) is labels
