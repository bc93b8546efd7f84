"""The page about exported files is true: its lines load them, in a process that does not import gan_jax."""

import pytest

from devices import run_json
from gan_jax import config as configs
from runs import call
from small_runs import fresh_run
from snippets import ROOT, blocks

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.timeout(180)]

_TEXTS = [block.text for block in blocks(ROOT / "docs" / "share.md", "py")]
WEIGHTS, FOR_JAX, FOR_ONNX = (
    next(text for text in _TEXTS if word in text) for word in ("safe_open", "deserialize", "onnxruntime")
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Returns the workdir of a run of the recipe `digits` with random weights."""
    workdir = tmp_path_factory.mktemp("digits") / "run"
    return fresh_run("dcgan", True, workdir, configs.load("digits"), (16, 16, 1), classes=10)


def loaded(text, workdir, name, shown):
    """Exports to the file that the text names, runs the text, and returns the value of `shown` as JSON."""
    out = workdir.parent / name
    outcome = call("export", workdir, "--format", out.suffix[1:], "--out", out)
    assert outcome.code == 0, outcome.err
    return run_json(f"""
import json, os, sys
os.chdir({str(out.parent)!r})
{text}
assert not {{"gan_jax", "flax"}} & set(sys.modules)
print(json.dumps({shown}))
""")


def test_the_lines_that_read_the_weights(digits):
    name, classes, shapes = loaded(
        WEIGHTS, digits, "digits.safetensors",
        "[config['name'], sample['class_names'], [list(kernel.shape) for kernel in kernels.values()]]",
    )  # fmt: skip
    assert (name, len(classes)) == ("digits", 10)
    assert shapes


def test_the_lines_that_run_the_program_for_jax(digits):
    assert loaded(FOR_JAX, digits, "digits.stablehlo", "list(images.shape)") == [16, 16, 16, 1]


@pytest.mark.slow
def test_the_lines_that_run_the_program_for_onnx(digits):
    assert loaded(FOR_ONNX, digits, "digits.onnx", "list(images.shape)") == [16, 16, 16, 1]
