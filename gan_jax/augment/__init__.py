"""Differentiable augmentation in front of the discriminator, on real and generated images alike.

An `Augment` is pure functions; its state (such as ADA's probability) lives in `GANState.augment`.
"""

from .adaptive import ada as ada
from .base import Augment as Augment
from .base import identity as identity
from .base import mirror as mirror
from .differentiable import diff_augment as diff_augment

__all__ = ["ada", "diff_augment", "identity", "mirror"]  # what a config may name
