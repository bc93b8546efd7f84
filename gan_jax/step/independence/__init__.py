"""Whether a network keeps the samples of a batch apart, read from its traced program.

The walk follows the samples' axis through each operation. It is conservative: an operation without a rule in
`rules.RULES` counts as one that mixes samples. So does a value that differs from row to row but belongs to no
sample, such as positions in the batch, or noise for the whole batch from one key.

The samples lie along one axis of a value, in order. That axis may be longer than the number of samples: after a
reshape from `[B, T, C]` to `[B * T, C]`, each sample has T consecutive rows of it.

Two things cannot be seen here: a number that was computed from the length of the batch when the network was
traced, and the derivative of a `jax.custom_vjp`, which is taken to be that of its function.
"""

from .rules import RULES as RULES
from .walk import carry_of_scan as carry_of_scan
from .walk import mixing_primitive as mixing_primitive
