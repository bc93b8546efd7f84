"""Signals that ask a run to save and stop: which count, which change nothing, and which end it at once."""

import os
import signal
import time

import pytest

import runs
from devices import run_python
from gan_jax.runtime.preemption import Preemption

SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


@pytest.fixture(autouse=True)
def as_on_a_terminal():
    """Undoes what `nohup` and a background shell do: they have SIGHUP and SIGINT ignored."""
    handlers = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_the_first_signal_is_the_reason_and_handlers_come_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    for number in SIGNALS:
        with Preemption() as asked:
            assert asked.reason is None
            send(number)
            assert asked.reason == f"{number.name} came"
            asked.request("another")
            assert asked.reason == f"{number.name} came"
        assert [signal.getsignal(each) for each in SIGNALS] == before


def test_schedulers_send_several():
    """They do not stop the save that the first began, and no Ctrl-C after them does so at once."""
    with Preemption() as asked:
        send(signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
        assert asked.reason == "SIGTERM came"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_two_interrupts_mean_now():
    with Preemption() as asked:
        send(signal.SIGINT)
        assert asked.reason == "SIGINT came"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_nohup_stays():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Preemption() as asked:
            send(signal.SIGHUP)
            assert asked.reason is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_signals_after_the_last_line_change_no_exit_code():
    """Python takes a while to end, and JAX too."""
    run_python("""
import atexit, os, signal
from gan_jax.runtime.preemption import Preemption
atexit.register(lambda: [os.kill(os.getpid(), number) for number in (signal.SIGTERM, signal.SIGHUP)])
with Preemption(to_the_end=True):
    pass
""")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("programs")
def test_a_storm_of_signals(config, trained, tmp_path):
    """SIGTERM every 20 milliseconds, from the first step to the end of the process."""
    workdir = tmp_path / "run"
    process = runs.start(["train", config, "steps=100000", "log.every=100", "--workdir", workdir])
    with process:
        while runs.last_step(workdir) < 1:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.02)
        err = process.communicate()[1]
    assert process.returncode == 75, err
    step = runs.checkpoints(workdir)[-1]
    assert err.splitlines()[-1].startswith(f"SIGTERM came at step {step} of 100000: all is saved"), err
    outcome = runs.call("train", config, f"steps={step}", "--workdir", workdir)
    assert f"resuming at step {step}\n" in outcome.err
