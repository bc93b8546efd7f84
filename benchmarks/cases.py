"""The cases: GANs by name, each at a size that its peers implement too."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

import gan_jax
from gan_jax.models import dcgan, mlp, r3gan
from gan_jax.ops import compiler_options
from gan_jax.types import PyTree

from . import resnet

LATENT = 100
Networks = Callable[[DTypeLike], tuple[PyTree, PyTree]]  # PyTree: Linen's signatures do not match `Network`
"""Takes a dtype; returns the generator and the discriminator."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A GAN whose training step is timed.

    Attributes:
        name: the case's name in the records.
        networks: takes a dtype; returns the generator and the discriminator.
        shape: shape of one sample, `(height, width, channels)`.
        batch: batch size of the comparison with peers.
        loss: a name in `gan_jax.losses`.
        gamma: weight of R1 + R2 on the discriminator; 0 means no penalty.
        learning_rate, b1, b2: settings of both players' Adam.
        latent: size of the latent vector.
        fuse: steps in one dispatch in the mode "fused"; 1: the case has no such mode.
        on: "cpu" or "accelerator": the full suite runs the case only there. A case that is named on the command
            line runs on any device.
    """

    name: str
    networks: Networks
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

    def gan(self, dtype: DTypeLike = jnp.float32, **changes: Any) -> gan_jax.GAN:
        """Returns the case's `GAN`; `changes` replace fields of it."""
        generator, discriminator = self.networks(dtype)
        adam = gan_jax.optimizers.adam(self.learning_rate, b1=self.b1, b2=self.b2)
        terms = (gan_jax.Term(self.gamma, gan_jax.penalties.r1_r2()),) if self.gamma else ()
        gan = gan_jax.GAN(
            generator, discriminator, getattr(gan_jax.losses, self.loss)(),
            adam, adam, gan_jax.latents.normal(self.latent), discriminator_terms=terms,
        )  # fmt: skip
        return dataclasses.replace(gan, **changes)

    def images(self, count: int) -> np.ndarray:
        """Returns uint8 noise `[count, *shape]`, the same in every call: speed does not depend on the content."""
        return np.random.default_rng(0).integers(0, 256, (count, *self.shape), np.uint8)


def _mlp(dtype: DTypeLike) -> tuple[PyTree, PyTree]:
    generator = mlp.Generator((28, 28, 1), width=512, layers=3, dtype=dtype)
    return generator, mlp.Discriminator(width=512, layers=3, dtype=dtype)


def _dcgan(size: int) -> Networks:
    return lambda dtype: (
        dcgan.Generator((size, size, 3), base=4, dtype=dtype),
        dcgan.Discriminator(base=4, dtype=dtype),
    )


def _resnet(dtype: DTypeLike) -> tuple[PyTree, PyTree]:
    return resnet.Generator((32, 32, 3), dtype=dtype), resnet.Discriminator(dtype=dtype)


def _r3gan(divisor: int = 1) -> Networks:
    """Returns R3GAN with the preset for FFHQ-64. `divisor` divides widths and groups (a group keeps 16 channels).

    Loss, gamma and Adam are the preset's, at the start of its schedules. Every implementation differs from the
    preset in this: no augmentation; both players' updates share latents and images; a step has fewer images than
    the authors' 256; and gan_jax keeps the EMA of the other cases.

    The full preset is for accelerators. On two CPU threads one step at batch 8 would take over 20 s, so there the
    suite runs `r3gan64_quarter`: all widths divided by 4, a twelfth of the arithmetic.
    """
    preset = r3gan.PRESETS["ffhq64"]
    sizes = {
        "widths": tuple(width // divisor for width in preset.widths),
        "cardinality": tuple(groups // divisor for groups in preset.cardinality),
        "full_precision_up_to": preset.full_precision_up_to,
    }
    return lambda dtype: (
        r3gan.Generator(shape=(64, 64, 3), dtype=dtype, **sizes),
        r3gan.Discriminator(dtype=dtype, **sizes),
    )


_R3GAN = {
    "shape": (64, 64, 3), "loss": "relativistic", "gamma": 2.0,
    "b1": 0.0, "b2": 0.9, "latent": 64,
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
        Case("r3gan64", _r3gan(), batch=32, fuse=1, on="accelerator", **_R3GAN),
        Case("r3gan64_quarter", _r3gan(4), batch=8, fuse=2, on="cpu", **_R3GAN),
    ]
}


def init(case: Case, gan: gan_jax.GAN) -> gan_jax.GANState:
    """Returns the initial state of `gan`, computed under jit."""
    batch = {"image": jax.ShapeDtypeStruct((case.batch, *case.shape), jnp.uint8)}
    options = compiler_options(once=True)
    return jax.jit(lambda key: gan_jax.init(gan, key, batch), compiler_options=options)(jax.random.key(0))
