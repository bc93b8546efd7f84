"""What is timed: games by name, each at the size that its peers play too."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gan_jax
from gan_jax.models import dcgan, mlp, r3gan
from gan_jax.ops import compiler_options

from . import resnet

LATENT = 100


@dataclasses.dataclass(frozen=True)
class Case:
    """A game to be timed.

    Attributes:
        name: as in the records.
        networks: dtype to `(generator, discriminator)`.
        shape: of one sample.
        batch: of the comparison with peers.
        loss: a name in `gan_jax.losses`.
        gamma: weight of R1 + R2 on the discriminator; 0 for none.
        learning_rate, b1, b2: of both players' Adam.
        latent: numbers that a sample is made from.
        fuse: steps in one dispatch where the mode is "fused".
        on: "cpu" or "accelerator" where the whole suite plays it on that only; by name it is played on any.
    """

    name: str
    networks: Callable[[Any], tuple[Any, Any]]
    shape: tuple[int, int, int]
    batch: int = 64
    loss: str = "non_saturating"
    gamma: float = 0.0
    learning_rate: float = 2e-4
    b1: float = 0.5
    b2: float = 0.999
    latent: int = LATENT
    fuse: int = 4
    on: str = ""

    def gan(self, dtype: Any = jnp.float32, **changes: Any) -> gan_jax.GAN:
        """The game; `changes` replace fields of the `GAN`."""
        generator, discriminator = self.networks(dtype)
        adam = gan_jax.optimizers.adam(self.learning_rate, b1=self.b1, b2=self.b2)
        penalties = ((self.gamma, gan_jax.penalties.r1_r2(), 1),) if self.gamma else ()
        game = gan_jax.GAN(
            generator, discriminator, getattr(gan_jax.losses, self.loss)(),
            adam, adam, gan_jax.latents.normal(self.latent), discriminator_terms=penalties,
        )  # fmt: skip
        return dataclasses.replace(game, **changes)

    def images(self, count: int) -> np.ndarray:
        """uint8 `[count, *shape]`: noise, the same every time. Speed does not depend on what they show."""
        return np.random.default_rng(0).integers(0, 256, (count, *self.shape), np.uint8)


def _mlp(dtype: Any) -> tuple[Any, Any]:
    return mlp.Generator((28, 28, 1), width=512, layers=3, dtype=dtype), mlp.Discriminator(
        width=512, layers=3, dtype=dtype
    )


def _dcgan(size: int) -> Callable[[Any], tuple[Any, Any]]:
    return lambda dtype: (
        dcgan.Generator((size, size, 3), base=4, dtype=dtype),
        dcgan.Discriminator(base=4, dtype=dtype),
    )


def _resnet(dtype: Any) -> tuple[Any, Any]:
    return resnet.Generator((32, 32, 3), dtype=dtype), resnet.Discriminator(dtype=dtype)


def _r3gan(divided: int = 1) -> Callable[[Any], tuple[Any, Any]]:
    """R3GAN with the preset for FFHQ-64, its widths and its groups divided (16 channels a group stay 16).

    Played with the preset's losses, gamma and Adam as they are at the start of its schedules. Different from the
    preset, in every implementation: no augmentation, both turns take the same latents and images, a step has fewer
    images than the authors' 256, and gan_jax's average of the generator is that of the other cases.

    The whole preset is for accelerators. On two threads of a CPU a step of it at batch 8 would take over 20 s, so
    there the suite plays `r3gan64_quarter`: all widths divided by 4, a twelfth of the arithmetic.
    """
    preset = r3gan.PRESETS["ffhq64"]
    sizes = {
        "widths": tuple(width // divided for width in preset.widths),
        "cardinality": tuple(groups // divided for groups in preset.cardinality),
        "full_precision_up_to": preset.full_precision_up_to,
    }
    return lambda dtype: (
        r3gan.Generator(shape=(64, 64, 3), dtype=dtype, **sizes),
        r3gan.Discriminator(dtype=dtype, **sizes),
    )


_R3GAN = {
    "shape": (64, 64, 3), "loss": "relativistic", "gamma": r3gan.PRESETS["ffhq64"].gamma[0],
    "b1": 0.0, "b2": 0.9, "latent": 64, "fuse": 2,
}  # fmt: skip

CASES = {
    case.name: case
    for case in [
        Case("mlp28", _mlp, (28, 28, 1), fuse=10),
        Case("dcgan32", _dcgan(32), (32, 32, 3), fuse=4),
        Case("dcgan64", _dcgan(64), (64, 64, 3), fuse=2),
        Case(
            "resnet32_r1r2",
            _resnet,
            (32, 32, 3),
            batch=32,
            loss="relativistic",
            gamma=0.1,
            b1=0.0,
            b2=0.99,
            fuse=2,
        ),
        Case("r3gan64", _r3gan(), batch=32, on="accelerator", **_R3GAN),
        Case("r3gan64_quarter", _r3gan(4), batch=8, on="cpu", **_R3GAN),
    ]
}


def init(case: Case, gan: gan_jax.GAN) -> gan_jax.GANState:
    """The game's first state, jitted."""
    batch = {"image": jax.ShapeDtypeStruct((case.batch, *case.shape), jnp.uint8)}
    options = compiler_options(once=True)
    return jax.jit(lambda key: gan_jax.init(gan, key, batch), compiler_options=options)(jax.random.key(0))
