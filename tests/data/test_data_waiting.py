import threading
import time

import pytest

from gan_jax.data.waiting import StopAskedError, each, stoppable


def test_results_come_in_order_and_errors_come_through():
    assert list(each(lambda x: x * x, range(40), 40, "squares")) == [x * x for x in range(40)]
    with pytest.raises(ZeroDivisionError):
        list(each(lambda x: 1 // x, [1, 0, 1], 3, "quotients"))

    def late(_):
        raise TimeoutError("of the work itself")

    with pytest.raises(TimeoutError, match="of the work itself"):
        list(each(late, [1], 1, "late"))


def test_progress_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("gan_jax.data.waiting._SAY_EVERY", 0.0)
    list(each(lambda x: x, range(3), 3, "reading photos"))
    assert capsys.readouterr().err.splitlines() == [f"reading photos: {n} of 3 files" for n in (1, 2, 3)]


def test_a_request_to_stop_ends_the_work_at_once():
    begun, asked = [], threading.Event()

    def work(item):
        begun.append(item)
        time.sleep(0.05)

    threading.Timer(0.2, asked.set).start()
    began = time.monotonic()
    with (
        stoppable(lambda: "Ctrl-C came" if asked.is_set() else None),
        pytest.raises(StopAskedError, match="Ctrl-C came"),
    ):
        list(each(work, range(10_000), 10_000, "long"))
    assert len(begun) < 200  # of 10,000; no limit in seconds, because machines differ
    assert time.monotonic() - began < 60
    assert list(each(lambda x: x, [1], 1, "again")) == [1]  # nobody asks any more
