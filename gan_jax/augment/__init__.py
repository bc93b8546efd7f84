"""Differentiable augmentations: the discriminator sees real and generated images only through them.

An `Augment` is a record of pure functions; its state (such as ADA's probability) lives in `GANState.augment`.
"""

from .adaptive import ada as ada
from .base import Augment as Augment
from .base import identity as identity
from .base import mirror as mirror
from .differentiable import diff_augment as diff_augment

__all__ = ["ada", "diff_augment", "identity", "mirror"]  # the names that a config may use
