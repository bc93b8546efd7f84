"""The precision of a run: `tf32` in the text of its program, `precision=bfloat16` in its types and its losses."""

import dataclasses
import io
import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gan_jax
import runs
from gan_jax import config as configs
from gan_jax.config import Call, Config, Data, Parallel, Term
from gan_jax.config.build import SampleSpec, batch_spec, make_gan
from gan_jax.report import writer
from gan_jax.runtime import precision
from gan_jax.runtime.placement import Placement
from gan_jax.train import train
from gan_jax.train.programs import Programs

SPEC = SampleSpec((8, 8, 1), "uint8", 10)


def small(**changes) -> Config:
    """Returns a config with both kinds of convolution, dense layers and second derivatives."""
    config = Config(
        name="small", batch=4, conditional=True, data=Data(Call("digits")), latent=Call("normal", size=4),
        generator=Call("dcgan", width=4), discriminator=Call("dcgan", width=4, norm="spectral"),
        discriminator_terms=(Term(1.0, Call("r1")),),
    )  # fmt: skip
    return dataclasses.replace(config, **changes)


def texts(config: Config, platform: str) -> list[str]:
    """Returns the programs of the step and of the sample grid, as that platform's compiler would get them."""
    gan = make_gan(config, SPEC)
    programs = Programs(config, gan, SPEC, Placement(config), resident=False)
    batch, fuse = batch_spec(config, gan, SPEC), config.parallel.fuse
    if fuse > 1:
        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((fuse, *x.shape), x.dtype), batch)
    step = programs.step.trace(programs.shapes, batch)
    index = jax.ShapeDtypeStruct((4,), jnp.int32)
    samples = programs.sampler._block.trace(programs.shapes.state.ema, index, index, {})
    return [traced.lower(lowering_platforms=(platform,)).as_text() for traced in (step, samples)]


def products(text: str) -> list[str]:
    """Returns the lines with a matrix product or a convolution."""
    return [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|convolution)\b", line)]


def exact(line: str) -> bool:
    return len(re.findall("HIGHEST", line)) == 2  # once for each operand


@pytest.mark.parametrize("fuse", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_without_tf32_every_product_asks_for_full_precision(fuse, monkeypatch):
    """No GPU is needed to lower a program for one."""
    monkeypatch.setattr(precision, "matmul_precision", lambda config, platform: None if config.tf32 else "highest")
    step, samples = (products(text) for text in texts(small(tf32=False, parallel=Parallel(fuse=fuse)), "cuda"))
    assert all(exact(line) for line in step + samples)
    plain = [products(text) for text in texts(small(parallel=Parallel(fuse=fuse)), "cuda")]
    assert [len(lines) for lines in plain] == [len(step), len(samples)]
    # The forward passes, both gradients and the penalty. (Spectral norm's power iterations are always exact.)
    assert sum(not exact(line) for line in plain[0]) > 25
    assert not any(exact(line) for line in plain[1])


def test_on_a_cpu_the_program_is_the_same():
    assert texts(small(tf32=False), "cpu") == texts(small(), "cpu")


def test_the_precision_on_each_platform():
    for platform in ("gpu", "tpu", "cuda"):
        assert precision.matmul_precision(small(), platform) is None
        assert precision.matmul_precision(small(tf32=False), platform) == "highest"
    assert precision.matmul_precision(small(tf32=False), "cpu") is None


def test_the_precision_is_saved_with_a_checkpoint(monkeypatch):
    def saved(**changes):
        return Placement(small(**changes)).environment()["matmul_precision"]

    assert (saved(), saved(tf32=False)) == ("default", "default")
    with jax.default_matmul_precision("high"):
        assert saved() == "high"
    matmul_precision = precision.matmul_precision
    monkeypatch.setattr(precision, "matmul_precision", lambda config, platform: matmul_precision(config, "gpu"))
    assert (saved(), saved(tf32=False)) == ("default", "highest")


def test_tf32_cannot_change_when_a_run_resumes():
    with pytest.raises(gan_jax.errors.UserError, match="tf32 was true and is now false"):
        configs.check_resume(small(), small(tf32=False))
    assert configs.from_json({k: v for k, v in configs.to_json(small()).items() if k != "tf32"}) == small()


def test_bfloat16_stays_inside_the_networks():
    """The inputs and results of a loss, the results of a penalty and the whole state are float32."""
    config, seen = small(precision="bfloat16"), []
    gan = make_gan(config, SPEC)
    assert gan.discriminator.dtype == jnp.bfloat16

    def recorded(function):
        def call(*arguments):
            result = function(*arguments)
            seen.extend(leaf.dtype for leaf in jax.tree.leaves((arguments, result)))
            return result

        return call

    [term] = gan.discriminator_terms

    def apply(*arguments):
        value, state = term.penalty.apply(*arguments)
        seen.append(value.dtype)
        return value, state

    gan = dataclasses.replace(
        gan,
        loss=gan_jax.Loss(recorded(gan.loss.generator), recorded(gan.loss.discriminator)),
        discriminator_terms=(dataclasses.replace(term, penalty=term.penalty._replace(apply=apply)),),
    )
    batch = batch_spec(config, gan, SPEC)
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    after, metrics = jax.eval_shape(gan_jax.make_train_step(gan), state, batch)
    assert len(seen) >= 7
    assert set(seen) == {jnp.dtype(jnp.float32)}
    floats = [leaf.dtype for leaf in jax.tree.leaves((after, metrics)) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert set(floats) == {jnp.dtype(jnp.float32)}
    assert after.generator.model_state["batch_stats"]


# ---- the effect on training


def curves(config: Config, workdir: Path) -> np.ndarray:
    """Trains 300 steps and returns both losses as means over 20 steps, `[15, 2]`."""
    train(config, workdir, stream=io.StringIO())
    rows = writer.read(workdir).rows
    assert [row["step"] for row in rows] == list(range(20, 301, 20))
    return np.array([[row["loss/generator"], row["loss/discriminator"]] for row in rows])


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_bfloat16_learns_along_the_same_curves(tmp_path):
    """300 steps of configs/digits.py. The curves of two seeds differ by 0.01 to 0.02, in either precision."""
    digits = configs.load(runs.ROOT / "configs" / "digits.py")
    common = ["steps=300", "log.every=20", "log.tensorboard=false", "sample.every=300", "sample.gif=false"]
    common += ["parallel.fuse=1", "checkpoint.every=300"]

    def trained(seed: int, *overrides: str) -> np.ndarray:
        config = configs.override(digits, [*common, f"seed={seed}", *overrides])
        return curves(config, tmp_path / f"{seed}{''.join(overrides)}")

    with runs.programs_kept(tmp_path / "programs"):
        float32 = [trained(seed) for seed in range(3)]
        bfloat16 = [trained(seed, "precision=bfloat16") for seed in range(2)]
        players = ("generator", "discriminator")
        too_fast = trained(0, *(f"{player}_optimizer.learning_rate=4e-3" for player in players))
    between_seeds = [distance(a, b) for a, b in itertools.combinations(float32, 2)]
    tolerance = 1.5 * max(between_seeds)
    assert max(distance(a, b) for a in bfloat16 for b in float32) < tolerance
    # With the same seed they are closer: bfloat16 changes a run less than another seed does.
    assert np.mean([distance(a, b) for a, b in zip(bfloat16, float32)]) < np.mean(between_seeds)
    # The comparison notices a learning rate that is ten times too high, although its final losses are the same.
    assert min(distance(too_fast, a) for a in float32) > tolerance
