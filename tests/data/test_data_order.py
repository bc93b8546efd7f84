from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from gan_jax.data import Order


def rule_3(seed: int, size: int, n: int) -> int:
    """Returns the row at position n of a run, as rule 3 of the design defines it."""
    key = jax.random.fold_in(jax.random.key(seed), n // size)
    return int(np.asarray(jax.random.permutation(key, size))[n % size])


@pytest.mark.parametrize(("seed", "size"), [(0, 7), (3, 1), (3, 2), (2**31 + 5, 11)])
def test_every_row_is_rule_3(seed, size):
    expected = [rule_3(seed, size, n) for n in range(40)]
    order = Order(seed, size)
    assert order.rows(0, 40).tolist() == expected
    for start, count in [
        (0, 1),
        (5, 3),
        (6, 2),
        (6, 30),
        (39, 1),
        (17, 0),
        (2, 9),
    ]:  # also backwards, into epochs that were dropped
        assert order.rows(start, count).tolist() == expected[start : start + count]
    assert order.rows(0, 3).dtype == np.int64


def test_steps_cross_epochs_and_drop_nothing():
    order, size, batch, batches_per_step = Order(1, 10), 10, 4, 3
    rows = [order.step_rows(step, batch, batches_per_step) for step in range(5)]
    assert rows[0].shape == (batches_per_step, batch)
    flat = np.concatenate(rows).reshape(-1)
    assert flat.tolist() == order.rows(0, 60).tolist()
    for epoch in range(6):
        assert sorted(flat[epoch * size : (epoch + 1) * size]) == list(range(size))
    assert order.step_rows(2, batch).shape == (batch,)
    assert order.step_rows(2, batch).tolist() == order.rows(8, 4).tolist()


def test_a_set_smaller_than_a_batch():
    rows = Order(0, 3).step_rows(0, 8)
    assert sorted(rows[:3]) == sorted(rows[3:6]) == [0, 1, 2]
    assert len(rows) == 8


def test_seeds_and_epochs_differ():
    assert Order(0, 100).rows(0, 100).tolist() != Order(1, 100).rows(0, 100).tolist()
    assert Order(0, 100).rows(0, 100).tolist() != Order(0, 100).rows(100, 100).tolist()


def test_threads_share_an_order():
    order = Order(9, 50)
    starts = [n * 37 % 1000 for n in range(100)]
    with ThreadPoolExecutor(8) as pool:
        shared = list(pool.map(lambda start: order.rows(start, 20).tolist(), starts))
    flat = np.concatenate([Order(9, 50).rows(epoch * 50, 50) for epoch in range(21)])
    assert shared == [flat[start : start + 20].tolist() for start in starts]


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        Order(0, 0)
