"""Data by random access: sources (one a file), the order of the rows, and the loader that feeds the step.

A source is a function `NAME` in the module `gan_jax.data.NAME` (digits, tfds, folder, npz, gaussians); it is
found by that name, so the functions themselves are not exported here. Importing this package imports neither
Pillow nor tensorflow_datasets.
"""

from .arrays import Arrays as Arrays
from .loader import Loader as Loader
from .loader import choose_resident as choose_resident
from .loader import read_all as read_all
from .order import Order as Order
from .source import Mirrored as Mirrored
from .source import Source as Source
