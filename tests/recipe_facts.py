"""The recipes in `configs/` and the shape, the classes and the published counts of each."""

from pathlib import Path
from typing import NamedTuple

import gan_jax
from gan_jax.config import Config, load
from gan_jax.config.build import SampleSpec, make_gan

FOLDER = Path(__file__).parents[1] / "configs"


class DataFacts(NamedTuple):
    """The shape and classes of a recipe's data, the paper's parameter counts, and whether tracing is slow."""

    shape: tuple[int, ...]
    classes: int | None
    counts: tuple[int, int] | None = None
    slow: bool = False


CIFAR = ((32, 32, 3), 10)
DATA = {
    "cifar10_biggan": DataFacts(*CIFAR, (9_416_196, 2_415_170), slow=True),
    "cifar10_dcgan": DataFacts(*CIFAR),
    "cifar10_dcgan_studiogan": DataFacts((32, 32, 3), None, (3_812_355, 2_931_009), slow=True),
    "cifar10_r3gan": DataFacts(*CIFAR, (20_781_952, 21_280_512), slow=True),
    "cifar10_sngan": DataFacts(*CIFAR, (4_304_387, 1_055_105), slow=True),
    "cifar10_stylegan2_ada": DataFacts(*CIFAR, (20_215_315, 23_089_664), slow=True),
    "digits": DataFacts((16, 16, 1), 10),
    "digits_super_resolution": DataFacts((8, 8, 1), 10),
    "fashion_mnist_dcgan": DataFacts((28, 28, 1), 10, slow=True),
    "fashion_mnist_r3gan": DataFacts((28, 28, 1), 10, slow=True),
    "fashion_mnist_sngan": DataFacts((28, 28, 1), 10, slow=True),
    "ffhq64_r3gan": DataFacts((64, 64, 3), None, (22_429_824, 22_381_440), slow=True),
    "ffhq256_r3gan": DataFacts((256, 256, 3), None, (23_057_952, 23_009_568), slow=True),
    "gaussians": DataFacts((2,), None),
    "imagenet64_r3gan": DataFacts((64, 64, 3), 1000, (103_570_432, 107_205_120), slow=True),
    "moving_digits": DataFacts((16, 32, 32, 1), None, slow=True),
    "stacked_digits": DataFacts((16, 16, 3), 1000, slow=True),
    "stacked_mnist_r3gan": DataFacts((32, 32, 3), 1000, slow=True),
}
PUBLISHED = [name for name, data in DATA.items() if data.counts]


def recipe(name: str) -> Config:
    return load(FOLDER / f"{name}.py")


def spec(name: str) -> SampleSpec:
    data = DATA[name]
    return SampleSpec(data.shape, "float32" if len(data.shape) == 1 else "uint8", data.classes)


def build_gan(name: str) -> gan_jax.GAN:
    return make_gan(recipe(name), spec(name))
