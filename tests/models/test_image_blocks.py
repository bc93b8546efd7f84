"""The order of a discriminator's blocks, and FreezeD: first blocks that are not trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import runs
from gan_jax.checkpoint import Catalogue, read_arrays
from gan_jax.config import Call, Config
from gan_jax.config.build import SampleSpec, make_gan
from gan_jax.errors import UserError
from gan_jax.optimizers import adam, freeze_first
from gan_jax.train.shapes import carry_shapes

FIRST = {  # at 16 pixels: the blocks from the image on
    Call("mlp", layers=2): [["dense_0"], ["dense_1"]],
    Call("dcgan"): [["down_0"], ["down_1", "norm_1"]],
    Call("dcgan_studiogan", widths=(8, 8, 8)): [
        ["conv_1", "down_1", "down_norm_1", "norm_1"], ["conv_2", "down_2", "down_norm_2", "norm_2"]
    ],
    Call("sngan", widths=(8, 8)): [["block_1"], ["block_2"]],
    Call("sagan", widths=(8, 8)): [["attention_1", "block_1"], ["block_2"]],
    Call("biggan", width=1, widths=(8, 8)): [["attention_1", "block_1"], ["block_2"]],
    Call("stylegan2", channel_base=64): [
        ["conv_16", "down_16", "image_16", "skip_16"], ["conv_8", "down_8", "skip_8"], ["conv_4"]
    ],
    Call("r3gan", widths=(8, 16, 8), cardinality=2, blocks=1): [
        ["image", "block_16_0"], ["block_8_0", "to_8"], ["block_4_0", "to_4"]
    ],
}  # fmt: skip


@pytest.mark.parametrize("call", FIRST, ids=lambda call: call.name)
def test_every_discriminator_tells_the_order_of_its_blocks(call):
    """And optimizers keep no state for the parameters of frozen blocks, but for all others."""
    config = Config("trial", discriminator=call, batch=8, freeze_discriminator=1)
    spec = SampleSpec((16, 16, 3), "uint8", None)
    gan = make_gan(config, spec)
    params = jax.eval_shape(
        lambda: gan.discriminator.init(jax.random.key(0), jnp.zeros((8, 16, 16, 3)), **_train(call))
    )
    names = list(params["params"])
    blocks = gan.discriminator.image_blocks(names)
    assert blocks == FIRST[call]
    moments = jax.eval_shape(gan.discriminator_tx.init, params["params"])
    kept = {jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(moments)}
    for name in names:
        assert any(f"['{name}']" in path for path in kept) == (name not in blocks[0]), name


def _train(call):
    return {"train": False} if "dcgan" in call.name else {}


def test_frozen_parameters_keep_their_bits_and_the_others_get_the_updates_of_the_optimizer():
    tx, params = adam(0.1), {"a_0": jnp.array([-0.0, 1.5]), "a_1": jnp.ones(2), "out": jnp.ones(3)}
    frozen = freeze_first(tx, lambda names: [[name] for name in sorted(names) if name != "out"], 1)
    grads, state = jax.tree.map(jnp.cos, params), frozen.init(params)
    updates, _ = frozen.update(grads, state, params)
    alone = {name: params[name] for name in ("a_1", "out")}
    expected, _ = tx.update({name: grads[name] for name in alone}, tx.init(alone), alone)
    after = optax.apply_updates(params, updates)
    assert np.array_equal(after["a_0"], params["a_0"])
    for name in alone:
        assert np.array_equal(updates[name], expected[name])
    with pytest.raises(ValueError, match="3 blocks can't be frozen: there are 2 \\(a_0; a_1\\)"):
        freeze_first(tx, lambda names: [["a_0"], ["a_1"]], 3).init(params)


@pytest.mark.parametrize(
    ("discriminator", "count", "words"),
    [
        (Call("mlp", layers=1), 2, "2 blocks can't be frozen: there are 1 (dense_0)"),
        (Call("test_image_blocks:plain"), 1, "does not tell the order of its blocks"),
    ],
)
def test_a_network_without_such_blocks_is_refused(discriminator, count, words):
    spec = SampleSpec((4, 4, 1), "uint8", None)
    config = Config("trial", generator=Call("mlp"), discriminator=discriminator, freeze_discriminator=count)
    with pytest.raises(UserError) as caught:
        carry_shapes(config, make_gan(config, spec), spec)
    assert words in str(caught.value)


def plain():
    return object()


@pytest.mark.usefixtures("programs")
@pytest.mark.timeout(120)
def test_a_run_with_frozen_blocks(tmp_path):
    config, workdir = runs.write_config(tmp_path, runs.MLP), tmp_path / "run"
    words = ["steps=4", "checkpoint.every=2", "log.every=4", "sample.every=4", "freeze_discriminator=1"]
    outcome = runs.call("train", config, *words, "--workdir", workdir)
    assert outcome.code == 0, outcome.err
    assert "without init_from keeps blocks at their random first weights" in outcome.err
    two, four = (read_arrays(Catalogue(workdir / "checkpoints"), step)[1] for step in (2, 4))
    same = {name: np.array_equal(two[name], four[name]) for name in two if "state/discriminator/params/" in name}
    assert {name.split("/")[3] for name, equal in same.items() if equal} == {"dense_0"}
