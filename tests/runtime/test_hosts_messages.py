"""What processes tell each other. Two threads stand for two processes, and a barrier for their collectives."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from gan_jax.errors import NonFiniteError, UserError
from gan_jax.runtime import hosts as module
from gan_jax.runtime.hosts import Hosts

TIMEOUT = 30


@pytest.fixture
def both(monkeypatch):
    """Returns `run(function)`: what `function(hosts)` returned, or raised, in each of two processes."""
    barrier, values, own = threading.Barrier(2, timeout=TIMEOUT), [None, None], threading.local()

    def gather(value):
        values[own.index] = value
        barrier.wait()
        found = list(values)
        barrier.wait()
        return found

    monkeypatch.setattr(module.multihost_utils, "broadcast_one_to_all", lambda value: gather(value)[0])
    monkeypatch.setattr(module.multihost_utils, "process_allgather", lambda value: np.stack(gather(value)))

    def process(index, function):
        own.index, hosts = index, Hosts()
        hosts.index, hosts.count, hosts.first = index, 2, index == 0
        try:
            return function(hosts)
        except UserError as error:
            return error

    def run(function):
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(process, index, function) for index in range(2)]
            return [future.result(TIMEOUT) for future in futures]

    return run


@pytest.mark.parametrize("size", [16, 2**26])
def test_what_process_0_returns_is_everywhere(both, monkeypatch, size):
    monkeypatch.setattr(module, "_CHUNK_BYTES", size)
    value = {"step": 3, "names": ["a" * 50, "é"], "nothing": None}
    calls = []

    def make():
        calls.append(threading.current_thread())
        return value

    assert both(lambda hosts: hosts.from_first(make)) == [value, value]
    assert len(calls) == 1


@pytest.mark.parametrize("kind", [UserError, NonFiniteError])
def test_what_process_0_raises_is_raised_everywhere(both, kind):
    def fail():
        raise kind("the disk is full: make room")

    errors = both(lambda hosts: hosts.from_first(fail))
    assert [type(error) for error in errors] == [kind, kind]
    assert [str(error) for error in errors] == ["the disk is full: make room"] * 2


def test_arrays_of_process_0_are_everywhere(both):
    values = {"key": jax.random.key(3), "weights": np.arange(6.0, dtype=np.float32).reshape(2, 3)}
    shapes = jax.eval_shape(lambda: values)
    found = both(lambda hosts: hosts.arrays_from_first(values if hosts.first else {}, shapes))
    for arrays in found:
        np.testing.assert_array_equal(arrays["weights"], values["weights"])
        np.testing.assert_array_equal(arrays["key"], jax.random.key_data(values["key"]))


def test_processes_agree_or_say_who_differs(both):
    assert both(lambda hosts: hosts.agree("config", {"batch": (1, 2)})) == [None, None]
    errors = both(lambda hosts: hosts.agree("config", hosts.index))
    assert all("process 1 has another config than process 0" in str(error) for error in errors)
