"""Programs compiled for a GPU and a TPU that are not here, and what is said where their compilers are missing."""

import json

import jax
import pytest

from devices import run_json
from gan_jax import targets
from gan_jax.errors import UserError
from gan_jax.targets import gpus, program, tpus
from gan_jax.targets.program import out_of_memory

GPU = pytest.mark.skipif(not gpus.installed(*gpus._PLUGINS), reason="needs gan_jax[target-gpu]")
TPU = pytest.mark.skipif(not tpus.installed("libtpu"), reason="needs gan_jax[target-tpu]")

STEP = """
import json
import jax
import jax.numpy as jnp
import gan_jax
from gan_jax import targets
from gan_jax.models import dcgan

kw = dict(width=32, dtype=jnp.bfloat16)
gan = gan_jax.GAN(
    dcgan.Generator((32, 32, 3), **kw), dcgan.Discriminator(**kw), loss=gan_jax.losses.non_saturating(),
    latent=gan_jax.latents.normal(16), generator_tx=gan_jax.optimizers.adam(),
    discriminator_tx=gan_jax.optimizers.adam(),
)
batch = {"image": jax.ShapeDtypeStruct((64, 32, 32, 3), jnp.uint8)}
state = jax.eval_shape(lambda key: gan_jax.init(gan, key, batch), jax.random.key(0))
program = targets.compile_step(gan_jax.make_train_step(gan), state, batch, NAME)
print(json.dumps({
    "share": program.flops * len(program.target.devices) / program.model_flops,
    "fits": program.fits, "state": program.memory.state, "kernels": len(program.kernels),
    "collectives": {kind: one.count for kind, one in program.collectives.items()},
    "calls": sorted({product.call for _, product in program.products}),
    "compiler": program.compiler_flops, "model": program.model_flops,
}))
"""


def test_a_missing_compiler(monkeypatch):
    for module in (gpus, tpus):
        monkeypatch.setattr(module, "installed", lambda *_: False)
    with pytest.raises(UserError, match=r"h200:8 needs the GPU's compiler .*pip install 'gan_jax\[target-gpu\]'"):
        targets.find("h200:8")
    with pytest.raises(UserError, match=r"v5e:2x4 needs the TPU's compiler .*pip install 'gan_jax\[target-tpu\]'"):
        targets.find("v5e:2x4")


@pytest.mark.parametrize("name", ["h300", "h200:x", "v5e", "", "v5e:2", "h200:8:8"])
def test_an_unknown_name(name):
    with pytest.raises(UserError, match=f"there is no target '{name}': there are h200, h100, a100, l40s, rtx4090"):
        targets.find(name)


@pytest.mark.parametrize(("name", "words"), [("h200:0", "give from 1 to 1024"), ("v9z:2x2", "there are v4, v5e")])
def test_a_wrong_number_or_chip(name, words):
    with pytest.raises(UserError, match=words):
        targets.find(name)


@pytest.mark.parametrize("chip", [*gpus.CHIPS.values(), *tpus.CHIPS.values()], ids=lambda chip: chip.name)
def test_rates_are_ordered_and_have_a_source(chip):
    assert chip.rates["bf16"] >= chip.rates["tf32"] >= chip.rates["float32"] > 1e13
    assert chip.bandwidth > 5e11
    assert "http" in chip.source or "white paper" in chip.source


@GPU
@pytest.mark.programs
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["h200", "h200:2", "rtx4090"])
def test_gpu(name):
    found = run_json(STEP.replace("NAME", json.dumps(name)), timeout=500)
    assert found["fits"]
    assert found["share"] == pytest.approx(1, rel=0.05)
    assert any(call.startswith("convBackwardFilter") for call in found["calls"])
    assert ("all-reduce" in found["collectives"]) == (name == "h200:2")


@TPU
@pytest.mark.programs
@pytest.mark.timeout(600)
def test_tpu():
    found = run_json(STEP.replace("NAME", '"v5e:2x2"'), timeout=500)
    assert found["fits"]
    assert found["share"] == pytest.approx(1, rel=0.05)
    assert found["compiler"] * 4 == pytest.approx(found["model"], rel=0.05)
    assert set(found["collectives"]) == {"all-reduce"}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("RESOURCE_EXHAUSTED: ... Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.", (20.5, 15.75)),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (53.70G) "
            "exceeds available HBM (15.75G)",
            (53.7, 15.75),
        ),
        ("INTERNAL: something else", None),
    ],
)
def test_a_compiler_that_gives_up_says_what_is_needed(message, found):
    assert out_of_memory(message) == (found and tuple(int(gib * 2**30) for gib in found))


@pytest.mark.parametrize(("level", "options"), [("UNKNOWN", {}), ("O1", {"optimization_level": 19})])
def test_the_compilers_effort_that_jax_is_set_to_is_an_option(level, options):
    before = jax.config.jax_optimization_level
    jax.config.update("jax_optimization_level", level)
    try:
        assert program._effort() == options
    finally:
        jax.config.update("jax_optimization_level", before)
