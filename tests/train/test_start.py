"""The start of a run: what it compiles and imports before its first step, and its report of the time."""

import json
import os
import threading
import time

import jax
import pytest

import runs
from devices import run_json
from gan_jax.runtime.background_compiler import BackgroundCompiler
from gan_jax.runtime.startup_timings import Timings, process_age

pytestmark = pytest.mark.timeout(120)


class Lowered:
    """A stand-in for a lowered program, whose compilation ends once `go` is set."""

    def __init__(self, error: Exception | None = None):
        self.go, self.thread, self.error = threading.Event(), None, error

    def compile(self):
        assert self.go.wait(10)
        self.thread = threading.current_thread()
        if self.error is not None:
            raise self.error
        return lambda *arguments: sum(arguments)


def test_a_program_is_compiled_beside_its_caller():
    timings, first, second = Timings(), Lowered(), Lowered()
    ahead = BackgroundCompiler("cpu", timings)
    programs = ahead("first", first), ahead("second", second)
    ahead.close()
    second.go.set()
    assert second.thread is None  # one after the other: together they would be slower
    first.go.set()
    assert [program(1, 2) for program in programs] == [3, 3]
    assert first.thread is second.thread is not threading.current_thread()
    assert set(timings.summary()["beside"]) == {"first", "second"}


def test_on_a_gpu_nothing_runs_while_kernels_are_measured():
    lowered = Lowered()
    lowered.go.set()
    ahead = BackgroundCompiler("gpu", Timings())
    program = ahead("step", lowered)
    assert lowered.thread is threading.current_thread()
    assert program(1, 2) == 3


def test_what_the_compiler_refuses_is_raised_where_it_is_called():
    lowered = Lowered(ValueError("no such instruction"))
    program = BackgroundCompiler("cpu", Timings())("step", lowered)
    lowered.go.set()
    with pytest.raises(ValueError, match="no such instruction"):
        program()


def test_phases_add_up_from_the_start_of_the_process():
    timings = Timings(age=100.0)
    timings.phase("imports")
    time.sleep(0.02)
    timings.phase("data")
    timings.phase("imports")
    with timings.beside("compile"):
        time.sleep(0.02)
    found = timings.summary()
    assert 100 <= found["phases"]["imports"] < 101
    assert found["phases"]["data"] >= 0.02
    assert found["total"] == pytest.approx(sum(found["phases"].values()), abs=0.002)
    assert found["beside"]["compile"] >= 0.02
    assert found["total"] < 100 + found["beside"]["compile"] + found["phases"]["data"] + 1


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="only Linux has /proc")
def test_age_of_a_process():
    began = time.time()
    before, first, later = run_json(
        "import json, time; from gan_jax.runtime.startup_timings import process_age as age\n"
        "a = age(); time.sleep(0.5); print(json.dumps([time.time() - 0.5 - a, a, age()]))"
    )
    assert before == pytest.approx(began, abs=1.0)
    assert later - first == pytest.approx(0.5, abs=0.25)
    assert process_age() > later


def test_timings_of_a_run_and_one_compilation_of_each_program(tmp_path):
    compiled = []

    def listen(event, _, fun_name="", **more):
        compiled.extend([fun_name] if event == "/jax/core/compile/backend_compile_duration" else [])

    config = runs.write_config(tmp_path, runs.MLP)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        outcome = runs.call("train", config, "steps=10", "--workdir", tmp_path / "run", "--timings")
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)  # one line only
    phases = ["imports", "data", "trace", "state", "grid", "input", "first_step"]
    assert list(found["phases"]) == phases
    assert set(found["beside"]) == {"state", "grid", "step"}
    assert found["total"] == pytest.approx(sum(found["phases"].values()), abs=0.01)
    # The run calls the programs that were compiled ahead: those of the step and of the sample grid.
    assert compiled.count("jit(program)") == 1, compiled
    assert compiled.count("jit(block)") == 1, compiled


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_is_imported_before_the_first_step(tmp_path):
    """It imports no package that it does not use: each of these takes 0.3 to 1.3 seconds."""
    config = runs.write_config(tmp_path, runs.MLP.replace("tensorboard=False", "tensorboard=True"))
    seen = run_json(f"""
import json, os, sys
from gan_jax import cli, train

def first_step_done(summary):
    print(json.dumps([sorted({{name.split(".")[0] for name in sys.modules}}), summary["total"]]), flush=True)
    os._exit(0)

whole = train.train
train.train = lambda *words, **keywords: whole(*words, **{{**keywords, "on_first_step": first_step_done}})
cli.main(["train", {str(config)!r}, "steps=2", "--workdir", {str(tmp_path / "run")!r}])
""")
    modules, seconds = seen
    assert {"jax", "flax", "gan_jax"} <= set(modules)
    heavy = {"orbax", "tensorboardX", "tensorflow_datasets", "matplotlib", "torch", "grain", "sklearn", "scipy"}
    assert not heavy & set(modules)
    assert seconds > 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_signal_while_jax_is_imported_stops_the_run(tmp_path):
    """The handler is set before JAX is imported, which takes a second. The run stops before its first step."""
    config = runs.write_config(tmp_path, runs.MLP)
    code, err = run_json(f"""
import contextlib, io, json, os, signal, sys

class Stop:
    def find_spec(self, name, *_):
        if name == "jaxlib":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Stop())
from gan_jax import cli
with contextlib.redirect_stderr(io.StringIO()) as err:
    code = cli.main(["train", {str(config)!r}, "--workdir", {str(tmp_path / "run")!r}])
print(json.dumps([code, err.getvalue()]))
""")
    assert (code, err) == (75, "SIGTERM came before the first step: the same command goes on\n")
    assert not runs.checkpoints(tmp_path / "run")
