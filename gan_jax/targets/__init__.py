"""Compiles a training step for a GPU or a TPU that is not here, and says what the program is.

`compile_step(step, state, batch, "h200")` returns a `Program`: its memory, kernels, collectives, convolutions,
FLOPs and bytes, and lower bounds of its time. The compiler has to be installed:
`pip install 'gan_jax[target-gpu]'` or `'gan_jax[target-tpu]'`. Set `JAX_PLATFORMS=cpu` where there is no GPU.
"""

from .bounds import Bounds as Bounds
from .chips import Chip as Chip
from .chips import Target as Target
from .collectives import Collective as Collective
from .flops import function_flops as function_flops
from .flops import traced_flops as traced_flops
from .kernels import Kernel as Kernel
from .names import find as find
from .products import Product as Product
from .program import DoesNotFitError as DoesNotFitError
from .program import Memory as Memory
from .program import Program as Program
from .program import compile_step as compile_step
