"""Layers that several architectures use."""

from .base import BatchNorm as BatchNorm
from .base import Conv as Conv
from .base import ConvTranspose as ConvTranspose
from .base import Dense as Dense
from .base import Embed as Embed
from .base import GroupedConv as GroupedConv
from .base import Norm as Norm
from .base import RunningVariance as RunningVariance
from .base import check_choice as check_choice
from .base import check_counts as check_counts
from .base import check_label as check_label
from .base import check_truncation as check_truncation
from .base import embed_label as embed_label
from .base import need_label as need_label
from .dropout import Dropout as Dropout
from .image_blocks import blocks_in_order as blocks_in_order
from .remat import Remat as Remat
from .remat import recomputable as recomputable
from .remat import recomputed as recomputed
from .sizes import Size as Size
from .sizes import doublings as doublings
from .sizes import image_size as image_size
from .spectral import SpectralNormed as SpectralNormed
from .spectral import SpectralVectors as SpectralVectors
from .spectral import spectral_refresh as spectral_refresh
