"""Where a step runs: on one device, over a mesh, mapped over an axis, or K steps in one program. `step -> step`.

All have one signature, `(state, batch, *shared) -> (state, metrics)`. The batch is the global one. The state is
whole (without a leading device axis) and donated. `shared` is further data that the step reads, such as a resident
data set: the same on every device, and not donated. On the CPU platform with several devices, keep at most one
step in flight besides the one you wait for: collectives that queue up there can deadlock.

A wrapped step composes. Inside `jax.jit`, `lax.scan`, `fuse_steps`, `jax.eval_shape`, `jax.vmap` or `jax.grad` it
is the step without a program of its own: nothing is donated there, and the outer program decides how it is
compiled. Its shardings still hold.

Over several devices a step is mapped by `jax.shard_map`, so devices exchange what the step reduces by name (sums
of gradients, statistics and metrics, and what a model gathers), and nothing else.
"""

from .mesh import AXIS as AXIS
from .mesh import make_mesh as make_mesh
from .mesh import place_batch as place_batch
from .mesh import place_state as place_state
from .mesh import state_shardings as state_shardings
from .wrappers import fuse_steps as fuse_steps
from .wrappers import jit_step as jit_step
from .wrappers import pmap_step as pmap_step
from .wrappers import shard_step as shard_step
