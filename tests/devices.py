"""Runs a Python program in a new process, on the CPU, with several virtual devices.

JAX fixes the number of devices when it starts, so the tests' own process cannot change it. The program must call
`jax.block_until_ready` after every step: with several CPU devices only one step may be in flight, because
collectives that queue up can wait for each other for ever. Such a process ignores SIGTERM, so a timeout kills it.
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
    """Returns what the program `source` prints to standard output.

    Args:
        source: the program; it can import `gan_jax` and the modules in `tests`.
        devices: the number of virtual CPU devices.
        timeout: seconds, after which the process and its children are killed.
        environment: further environment variables, such as `JAX_ENABLE_X64="1"`.

    Raises:
        AssertionError: the program failed or was killed; the message has the end of its output.
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
    """Runs `source` as `run_python` does, and returns the JSON on its last line."""
    return json.loads(run_python(source, **keywords).strip().splitlines()[-1])
