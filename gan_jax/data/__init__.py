"""Data sources (one per file), the order of their rows, and the loader that gives batches to the training step.

A source is made by the function `NAME` in the module `gan_jax.data.NAME` (digits, tfds, folder, npz, audio, video
and others). A config names the function, so this package does not export it. Importing this package imports
neither Pillow nor tensorflow_datasets.
"""

from .arrays import Arrays as Arrays
from .loader import Loader as Loader
from .loader import choose_resident as choose_resident
from .loader import read_all as read_all
from .order import Order as Order
from .source import Mirrored as Mirrored
from .source import Source as Source
