"""Saves the state of a run to disk, verifies it and restores it."""

from .catalogue import Catalogue as Catalogue
from .checkpoints import Checkpoints as Checkpoints
from .restore import Restored as Restored
from .restore import read_arrays as read_arrays
