"""One training step of a GAN: `make_train_step`, and what it is made of."""

from ..pixels import to_float as to_float
from .mixing import mixes_samples as mixes_samples
from .step import Step as Step
from .step import StepFunction as StepFunction
from .train_step import make_train_step as make_train_step
