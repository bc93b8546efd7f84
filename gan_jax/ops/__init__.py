"""Convolutions and resampling whose derivatives of any order are fast on the platform that is compiled for."""

from .activation import leaky_relu as leaky_relu
from .activation import relu as relu
from .backend import FORMULATIONS as FORMULATIONS
from .backend import Formulations as Formulations
from .backend import compiler_options as compiler_options
from .conv import conv as conv
from .conv import conv_transpose as conv_transpose
from .float32 import add as add
from .float32 import in_float32 as in_float32
from .float32 import multiply as multiply
from .float32 import widen as widen
from .grouped import grouped_conv as grouped_conv
from .modulated import modulated_conv as modulated_conv
from .resample import downsample as downsample
from .resample import filter2d as filter2d
from .resample import fir_filter as fir_filter
from .resample import upsample as upsample
