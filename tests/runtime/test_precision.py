"""How exact a run computes: `tf32` in the program's text, `precision=bfloat16` in its types and in its curves."""

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
from gan_jax.config.build import SampleSpec, batch_spec, chunk_spec, make_gan
from gan_jax.report import writer
from gan_jax.runtime import precision
from gan_jax.runtime.placement import Placement
from gan_jax.train import train
from gan_jax.train.programs import Programs

SPEC = SampleSpec((8, 8, 1), "uint8", 10)


def small(**changes) -> Config:
    """Convolutions of both kinds, dense layers, and derivatives of derivatives."""
    config = Config(
        name="small", batch=4, conditional=True, data=Data(Call("digits")), latent=Call("normal", size=4),
        generator=Call("dcgan", width=4), discriminator=Call("dcgan", width=4, norm="spectral"),
        discriminator_terms=(Term(1.0, Call("r1")),),
    )  # fmt: skip
    return dataclasses.replace(config, **changes)


def texts(config: Config, platform: str) -> list[str]:
    """The step and the picture as they'd be given to that platform's compiler."""
    programs = Programs(config, make_gan(config, SPEC), SPEC, Placement(config), resident=False)
    step = programs.step.trace(tuple(programs.shapes), chunk_spec(config, SPEC, False))
    index = jax.ShapeDtypeStruct((4,), jnp.int32)
    picture = programs.sampler._block.trace(programs.shapes.state.ema, index, index)
    return [traced.lower(lowering_platforms=(platform,)).as_text() for traced in (step, picture)]


def products(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|convolution)\b", line)]


def exact(line: str) -> bool:
    return len(re.findall("HIGHEST", line)) == 2  # of either operand


@pytest.mark.parametrize("fuse", [1, 2])
def test_without_tf32_every_product_asks_for_full_precision(fuse, monkeypatch):
    """There is no GPU here, but its program can be written down."""
    monkeypatch.setattr(precision, "asked", lambda config, platform: None if config.tf32 else "highest")
    step, picture = (products(text) for text in texts(small(tf32=False, parallel=Parallel(fuse=fuse)), "cuda"))
    assert all(exact(line) for line in step + picture)
    plain = [products(text) for text in texts(small(parallel=Parallel(fuse=fuse)), "cuda")]
    assert [len(lines) for lines in plain] == [len(step), len(picture)]
    # Forward, both gradients, and the penalty's. (The power iterations of spectral norm are always exact.)
    assert sum(not exact(line) for line in plain[0]) > 25
    assert not any(exact(line) for line in plain[1])


def test_on_a_cpu_the_program_is_the_same():
    assert texts(small(tf32=False), "cpu") == texts(small(), "cpu")


def test_what_is_asked_on_which_platform():
    for platform in ("gpu", "tpu", "cuda"):
        assert precision.asked(small(), platform) is None
        assert precision.asked(small(tf32=False), platform) == "highest"
    assert precision.asked(small(tf32=False), "cpu") is None


def test_what_was_asked_is_kept_with_a_checkpoint(monkeypatch):
    def kept(**changes):
        return Placement(small(**changes)).environment()["matmul_precision"]

    assert (kept(), kept(tf32=False)) == ("default", "default")
    with jax.default_matmul_precision("high"):
        assert kept() == "high"
    asked = precision.asked
    monkeypatch.setattr(precision, "asked", lambda config, platform: asked(config, "gpu"))
    assert (kept(), kept(tf32=False)) == ("default", "highest")


def test_tf32_is_part_of_what_a_run_is():
    with pytest.raises(gan_jax.errors.UserError, match="tf32 was true and is now false"):
        configs.check_resume(small(), small(tf32=False))
    assert configs.from_json({k: v for k, v in configs.to_json(small()).items() if k != "tf32"}) == small()


def test_bfloat16_stays_inside_the_networks():
    """What a loss is given and what a penalty gives is float32, and so is all that is kept."""
    config, seen = small(precision="bfloat16"), []
    gan = make_gan(config, SPEC)
    assert gan.discriminator.dtype == jnp.bfloat16

    def noted(function):
        def call(*arguments):
            result = function(*arguments)
            seen.extend(leaf.dtype for leaf in jax.tree.leaves((arguments, result)))
            return result

        return call

    [term] = gan.discriminator_terms

    def applied(*arguments):
        value, state = term.penalty.apply(*arguments)
        seen.append(value.dtype)
        return value, state

    gan = dataclasses.replace(
        gan,
        loss=gan_jax.Loss(noted(gan.loss.generator), noted(gan.loss.discriminator)),
        discriminator_terms=(dataclasses.replace(term, penalty=term.penalty._replace(apply=applied)),),
    )
    batch = batch_spec(config, SPEC)
    state = jax.eval_shape(lambda: gan_jax.init(gan, jax.random.key(0), batch))
    after, metrics = jax.eval_shape(gan_jax.make_train_step(gan), state, batch)
    assert len(seen) >= 7
    assert set(seen) == {jnp.dtype(jnp.float32)}
    kept = [leaf.dtype for leaf in jax.tree.leaves((after, metrics)) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert set(kept) == {jnp.dtype(jnp.float32)}
    assert after.generator.model_state["batch_stats"]


# ---- what comes of it


def curves(config: Config, workdir: Path) -> np.ndarray:
    """Both losses of a run, each a mean over 20 steps: [300 / 20, 2]."""
    train(config, workdir, stream=io.StringIO())
    rows = writer.read(workdir)
    assert [row["step"] for row in rows] == list(range(20, 301, 20))
    return np.array([[row["loss/generator"], row["loss/discriminator"]] for row in rows])


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_bfloat16_learns_along_the_same_curves(tmp_path):
    """The demo's digits, 300 steps. Two seeds are 0.01 to 0.02 apart, whatever the precision."""
    digits = configs.load(runs.ROOT / "configs" / "digits.py")
    quiet = ["steps=300", "log.every=20", "log.tensorboard=false", "sample.every=300", "sample.gif=false"]
    quiet += ["parallel.fuse=1", "checkpoint.every=300"]

    def learn(seed: int, *overrides: str) -> np.ndarray:
        config = configs.override(digits, [*quiet, f"seed={seed}", *overrides])
        return curves(config, tmp_path / f"{seed}{''.join(overrides)}")

    with runs.programs_kept(tmp_path / "programs"):
        wide = [learn(seed) for seed in range(3)]
        narrow = [learn(seed, "precision=bfloat16") for seed in range(2)]
        players = ("generator", "discriminator")
        hasty = learn(0, *(f"{player}_optimizer.learning_rate=4e-3" for player in players))
    between_seeds = [apart(a, b) for a, b in itertools.combinations(wide, 2)]
    tolerance = 1.5 * max(between_seeds)
    assert max(apart(a, b) for a in narrow for b in wide) < tolerance
    # The same draws lead nearer than that: bfloat16 is less of a change than another seed.
    assert np.mean([apart(a, b) for a, b in zip(narrow, wide)]) < np.mean(between_seeds)
    # A learning rate ten times too high is told apart, though it ends at the same losses.
    assert min(apart(hasty, a) for a in wide) > tolerance
