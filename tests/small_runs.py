"""A workdir of each model with the smallest networks, written without training: `fresh_run`."""

from pathlib import Path

import jax
import numpy as np

from filled import filled
from gan_jax import config as configs
from gan_jax.config import Call, Config
from gan_jax.config.build import SampleSpec, batch_spec, make_gan
from gan_jax.exchange.new_workdir import write_workdir
from gan_jax.gan import init
from gan_jax.pytree import host_array, named_leaves

SHAPE = (16, 16, 3)
NAMES = ("cat", "dog", "owl")
_WIDTHS = {"widths": (8, 4)}
_R3GAN = {"widths": (4, 4, 4), "cardinality": 2, "blocks": 1}
_STYLEGAN2 = {"channel_base": 32, "channel_max": 4, "mapping_layers": 1}
# Keywords of the generator, of the discriminator, and the shape of a sample.
NETWORKS: dict[str, tuple[dict, dict, tuple[int, ...]]] = {
    "mlp": ({"width": 8}, {"width": 8}, SHAPE),
    "dcgan": ({"width": 4}, {"width": 4}, SHAPE),
    "dcgan_studiogan": ({}, {}, (32, 32, 3)),
    "sngan": (_WIDTHS, _WIDTHS, SHAPE),
    "sagan": (_WIDTHS, _WIDTHS, SHAPE),
    "biggan": ({"width": 4, **_WIDTHS, "embedding": 3}, {"width": 4, **_WIDTHS}, SHAPE),
    "r3gan": ({**_R3GAN, "embedding": 3}, _R3GAN, SHAPE),
    "stylegan2": ({**_STYLEGAN2, "w_size": 4}, {**_STYLEGAN2, "group": 1}, SHAPE),
}


def small_config(name: str, conditional: bool, **fields) -> Config:
    of_generator, of_discriminator, _ = NETWORKS[name]
    return Config(
        name=name, batch=4, conditional=conditional, latent=Call("normal", size=8),
        generator=Call(name, **of_generator), discriminator=Call(name, **of_discriminator), **fields,
    )  # fmt: skip


def fresh_run(
    name: str, conditional: bool, workdir: Path, config: Config | None = None, shape=None, classes: int = 3
) -> Path:
    """Writes a run whose variables are random, also where a network begins with zeros."""
    config = config or small_config(name, conditional)
    configs.validate(config)
    names = NAMES if classes == len(NAMES) else tuple(map(str, range(classes)))
    spec = SampleSpec(shape or NETWORKS[name][2], "uint8", classes, names)
    gan = make_gan(config, spec)
    state = jax.eval_shape(lambda key: init(gan, key, batch_spec(config, gan, spec)), jax.random.key(0))

    def arrays(variables) -> dict[str, np.ndarray]:
        return {at: host_array(leaf) for at, leaf in named_leaves(filled(variables)).items()}

    return write_workdir(workdir, config, spec, arrays(state.ema), arrays(state.discriminator.variables), "a test")
