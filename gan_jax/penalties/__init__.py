"""Penalties: terms added to a player's loss, such as R1 on the discriminator.

A `Penalty` is a name and two pure functions. A `Term` is a penalty with its weight; a `GAN` has a tuple of terms
for each player.
"""

from ..terms import Term as Term
from .approximate import r1_approx as r1_approx
from .approximate import r2_approx as r2_approx
from .base import DiscriminatorPenalty as DiscriminatorPenalty
from .base import GeneratorPenalty as GeneratorPenalty
from .base import OutputFunction as OutputFunction
from .base import OutputPenalty as OutputPenalty
from .base import Outputs as Outputs
from .base import Penalty as Penalty
from .generator import path_length as path_length
from .gradient import dragan as dragan
from .gradient import r1 as r1
from .gradient import r1_r2 as r1_r2
from .gradient import r2 as r2
from .gradient import wgan_gp as wgan_gp
from .on_outputs import feature_matching as feature_matching
from .on_outputs import lecam as lecam
from .on_outputs import logit_centering as logit_centering
from .pairs import commitment as commitment
from .pairs import perceptual as perceptual
from .pairs import reconstruction as reconstruction

__all__ = [  # the names that a config may use: not perceptual, which reads frozen variables
    "commitment",
    "dragan",
    "feature_matching",
    "lecam",
    "logit_centering",
    "path_length",
    "r1",
    "r1_approx",
    "r1_r2",
    "r2",
    "r2_approx",
    "reconstruction",
    "wgan_gp",
]
