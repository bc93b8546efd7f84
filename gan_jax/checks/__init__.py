"""Checks of a GAN, its batches, its samples and its logits, when they are built or traced."""

from .batch import check_batch as check_batch
from .batch import check_frozen as check_frozen
from .batch import check_key as check_key
from .batch import check_state as check_state
from .batch import frozen_readers as frozen_readers
from .functions import axis_keyword as axis_keyword
from .functions import check_optimizer as check_optimizer
from .functions import takes as takes
from .outputs import check_aux as check_aux
from .outputs import check_images as check_images
from .outputs import check_logit as check_logit
from .record import check_gan as check_gan
