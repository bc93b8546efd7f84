"""A term of a player's loss: a penalty with its weight. This file imports no JAX, so that configs load quickly."""

import dataclasses
from typing import Generic, TypeVar

WeightT = TypeVar("WeightT", covariant=True)
PenaltyT = TypeVar("PenaltyT", covariant=True)


@dataclasses.dataclass(frozen=True)
class Term(Generic[WeightT, PenaltyT]):
    """A penalty with its weight, as a player's loss contains it.

    In a `GAN` the weight is a number or a schedule, and the penalty a `Penalty`: `Term(5.0, penalties.r1())`. In a
    config both may be a `Call`: `Term(5.0, Call("r1"))`.
    """

    weight: WeightT
    """The factor of the penalty: a number, or a schedule over the images seen."""
    penalty: PenaltyT
    """The penalty, a name in `gan_jax.penalties` where this is in a config."""
    every: int = dataclasses.field(default=1, metadata={"least": 1})
    """Steps from one use of the penalty to the next (lazy regularization).

    With k the penalty is computed on the steps that k divides, with k times the weight. Karras et al.,
    "StyleGAN2", 2020, appendix B.
    """
