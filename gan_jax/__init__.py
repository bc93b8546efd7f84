"""A GAN trainer for JAX: the core. Importing it touches no device, reads no file and sets no flag."""

from . import augment as augment
from . import latents as latents
from . import losses as losses
from . import optimizers as optimizers
from . import penalties as penalties
from . import schedules as schedules
from .augment import Augment as Augment
from .gan import GAN as GAN
from .gan import init as init
from .gan import make_sampler as make_sampler
from .losses import Loss as Loss
from .optimizers import lazy_adam as lazy_adam
from .parallel import fuse_steps as fuse_steps
from .parallel import jit_step as jit_step
from .parallel import make_mesh as make_mesh
from .parallel import place_batch as place_batch
from .parallel import place_state as place_state
from .parallel import pmap_step as pmap_step
from .parallel import shard_step as shard_step
from .penalties import Penalty as Penalty
from .penalties import Weighted as Weighted
from .standing import standing_statistics as standing_statistics
from .state import GANState as GANState
from .state import PlayerState as PlayerState
from .step import Step as Step
from .step import make_train_step as make_train_step
from .types import Network as Network
from .types import Samples as Samples

__version__ = "0.1.0"
