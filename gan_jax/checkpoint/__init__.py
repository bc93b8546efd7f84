"""What a run keeps on disk of its state."""

from .catalogue import Catalogue as Catalogue
from .checkpoints import Checkpoints as Checkpoints
from .checkpoints import Restored as Restored
