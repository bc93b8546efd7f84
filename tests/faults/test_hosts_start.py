"""Mistakes in the start of several processes: all of them end, each says one sentence, and nothing is lost."""

import socket
import time

import pytest

import runs
from gan_jax.errors import UserError
from gan_jax.runtime.connection import connect
from host_processes import LONG, SGD, Process, ended, free_port, says, wait_until

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    return str(runs.write_config(tmp_path_factory.mktemp("config"), SGD))


@pytest.mark.slow
def test_a_port_that_another_program_has(config, tmp_path):
    """JAX crashes here, or shares the port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        first = Process(tmp_path / "run", port, 0, 2, 2, config).end(timeout=30)
    assert first.code == 2, first
    assert says(first, f"process 0 can't open port {port} (Address already in use)")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_second_process_0(config, tmp_path):
    """It ends, and the run goes on."""
    workdir, port = tmp_path / "run", free_port()
    processes = [Process(workdir, port, index, 2, 2, config, *LONG) for index in range(2)]
    wait_until(lambda: runs.last_step(workdir) >= 0, processes[0])
    second = Process(tmp_path / "other", port, 0, 2, 2, config).end(timeout=30)
    assert second.code == 2, second
    assert says(second, f"process 0 can't open port {port}")
    assert says(second, "perhaps of a second process 0 or another run: give all processes another port")
    processes[0].process.terminate()
    assert [outcome.code for outcome in ended(processes, timeout=30)] == [75, 75]


@pytest.mark.slow
def test_a_process_that_does_not_come(config, tmp_path):
    began = time.monotonic()
    given = ["--distributed", "--coordinator", f"127.0.0.1:{free_port()}", "--processes", "3", "--process"]
    some = [
        Process(tmp_path / "run", 0, 0, 1, 2, config, *given, index, "--connect-timeout", "5s")
        for index in ("0", "2")
    ]
    for index, outcome in zip("02", ended(some, timeout=30)):
        assert outcome.code != 0, outcome
        assert f"process {index} of 3 waits up to 5 s for the others at 127.0.0.1:" in outcome.err
    assert time.monotonic() - began < 30
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_another_version(config, tmp_path):
    """In one process, another JAX seems to be installed."""
    (tmp_path / "jax-0.0.1.dist-info").mkdir()
    (tmp_path / "jax-0.0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: jax\nVersion: 0.0.1\n"
    )
    port = free_port()
    first = Process(tmp_path / "run", port, 0, 2, 2, config)
    second = Process(tmp_path / "run", port, 1, 2, 2, config, PYTHONPATH=f"{tmp_path}:{runs.ROOT}")
    for outcome in ended([first, second], timeout=60):
        assert outcome.code == 2, outcome
        assert says(outcome, "process 1 has another version than process 0")
        assert says(outcome, "jax 0.0.1")
    assert not (tmp_path / "run" / "config.json").exists()


BAD = {
    "localhost": "is no HOST:PORT", "localhost:": "is no HOST:PORT", ":1234": "is no HOST:PORT",
    "localhost:0": "is no HOST:PORT", "localhost:65536": "is no HOST:PORT", "localhost:x": "is no HOST:PORT",
    "no such host:1234": "does not know the host 'no such host'",
}  # fmt: skip


@pytest.mark.parametrize("address", BAD)
def test_an_address_that_is_not_valid(address):
    with pytest.raises(UserError, match=BAD[address]):
        connect(address, 2, 1)


OTHER = """
import os
import numpy as np
from gan_jax.data import arrays
from gan_jax.data.digits import digits

def data():
    source = digits()
    images = source.read(np.arange(len(source)))["image"]
    return arrays.Arrays("elsewhere", images[::-1] if os.environ.get("OTHER") else images)
"""


@pytest.mark.slow
def test_other_data(config, tmp_path):
    """The images of one process have another order."""
    (tmp_path / "elsewhere.py").write_text(OTHER)
    path, port = f"{tmp_path}:{runs.ROOT}", free_port()
    processes = [
        Process(
            tmp_path / "run", port, index, 2, 2, config, "data.source=elsewhere:data", PYTHONPATH=path,
            **({"OTHER": "1"} if index else {}),
        )
        for index in range(2)
    ]  # fmt: skip
    for outcome in ended(processes, timeout=60):
        assert outcome.code == 2, outcome
        assert says(outcome, "process 1 has another data set than process 0")
    assert not (tmp_path / "run" / "config.json").exists()
