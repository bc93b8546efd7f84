"""One training step: `make_train_step` and what it is made of."""

from .train_step import Step as Step
from .train_step import make_train_step as make_train_step
from .train_step import mixes_samples as mixes_samples
