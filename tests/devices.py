"""A snippet of Python in a process of its own, on the CPU, with as many virtual devices as it asks for.

The number of devices is fixed when JAX starts, so it can't be changed inside the tests' own process. In a
snippet, call `jax.block_until_ready` on every step: with several CPU devices at most one step may be in
flight, because collectives that queue up can wait for each other for ever. Such a process ignores SIGTERM;
hence the hard limit here.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def run_python(source: str, *, devices: int = 1, timeout: float = 120.0, **environment: str) -> str:
    """What `source` prints to its standard output.

    Args:
        source: the program; `gan_jax` and the modules in `tests` can be imported.
        devices: virtual CPU devices.
        timeout: seconds until the process and its children are killed.
        environment: further variables, such as `JAX_ENABLE_X64="1"`.

    Raises:
        AssertionError: it failed or ran into the timeout; the message has the end of what it printed.
    """
    folders = [ROOT, *sorted(path for path in [ROOT / "tests", *(ROOT / "tests").rglob("*")] if path.is_dir())]
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu", **environment}
    flags = [*variables.get("XLA_FLAGS", "").split(), f"--xla_force_host_platform_device_count={devices}"]
    variables["XLA_FLAGS"] = " ".join(flags)
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=variables, cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"killed after {timeout} s\n{out[-2000:]}\n{err[-4000:]}") from None
    assert process.returncode == 0, f"exit code {process.returncode}\n{out[-2000:]}\n{err[-6000:]}"
    return out


def run_json(source: str, **keywords: Any) -> Any:
    """The JSON that `source` prints as its last line; see `run_python`."""
    return json.loads(run_python(source, **keywords).strip().splitlines()[-1])
