"""The command `gan-jax benchmark`: where it finds the suite, what it writes, which arguments it refuses."""

import importlib.util
import json
import re

import jax
import pytest

from benchmarks import command, machine, suites
from benchmarks.runners import Runner
from benchmarks.timing import Sample
from gan_jax.cli import main
from gan_jax.commands import benchmark

HERE = machine.Machine("cpu", "a processor", {}, {}, "", {"float32": 100.0}, 10.0)


def rows(suite, **options):
    assert suite == "quick"
    assert options["batch"] == 16
    yield suites.Row(
        "peers", "mlp28", "gan_jax", "jit", 16, Runner(lambda n: None, flops=1e9), Sample(20.0, 19.0, 25.0, 5)
    )
    yield suites.Row(
        "peers", "mlp28", "torch_eager", "", 16, Runner(lambda n: None), None, note="not measured: why"
    )


def test_a_line_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "measure", lambda: HERE)
    monkeypatch.setattr(suites, "run", rows)
    path = tmp_path / "deep" / "x.jsonl"
    assert main(["benchmark", "--json", str(path), "--batch", "16"]) == 0
    ours, theirs = map(json.loads, path.read_text().splitlines())
    assert ours["step_ms_median"] == 20.0
    assert ours["images_per_second"] == pytest.approx(800)
    assert ours["peak_fraction"] == pytest.approx(0.5)  # 1 GFLOP in 20 ms of 100 GFLOP/s
    assert theirs["step_ms_median"] is None
    assert "not measured: why" in capsys.readouterr().out


def test_it_leaves_the_process_as_it_was(monkeypatch):
    """It turns the compilation cache off while it measures and restores it, also after an error."""
    during = []
    monkeypatch.setattr(machine, "measure", lambda: during.append(jax.config.jax_enable_compilation_cache) or HERE)

    def failing(suite, **options):
        raise ValueError("an error in the suite")
        yield

    monkeypatch.setattr(suites, "run", failing)
    before = jax.config.jax_enable_compilation_cache
    assert main(["benchmark"]) == 2
    assert (during, jax.config.jax_enable_compilation_cache) == ([False], before)
    assert before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--case", "dcgan33"], "no case 'dcgan33': did you mean dcgan32? there are mlp28,"),
        (
            ["--case", "mlp28", "--case", "else"],
            "no case 'else': there are mlp28, dcgan32, dcgan64, resnet32_r1r2",
        ),
        (["--only", "speed"], "no suite 'speed' in quick: there are peers,"),
        (["--only", "mode"], "no suite 'mode' in quick: did you mean modes? there are peers,"),
        (["--only", "sweep"], "no suite 'sweep' in quick: add --suite full; here there are peers,"),
        (["--rounds", "3"], "fewer than 5 samples"),
    ],
)
def test_what_it_refuses(arguments, sentence, monkeypatch, capsys):
    """It refuses before it measures anything."""
    monkeypatch.setattr(machine, "measure", lambda: pytest.fail("the machine was measured"))
    assert main(["benchmark", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("suite", command.SUITES)
def test_the_names_it_knows_are_the_suites_own(suite):
    names = re.escape(f"in {suite}: there are {', '.join(command.SUITES[suite])}")
    with pytest.raises(ValueError, match=f"{names}$"):
        next(suites.run(suite, only=["nothing"]))


def test_an_installation_without_the_suite_says_so(monkeypatch, capsys):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    assert main(["benchmark"]) == 2
    assert "run it in a clone" in capsys.readouterr().err


def test_somebody_elses_benchmarks_are_not_run(monkeypatch, capsys):
    other = importlib.util.find_spec("json")
    monkeypatch.setattr(
        benchmark.importlib.util, "find_spec", lambda name: other if name == "benchmarks" else None
    )
    assert main(["benchmark"]) == 2
    assert "run it in a clone" in capsys.readouterr().err
