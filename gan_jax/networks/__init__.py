"""How a network of any kind is called, and adapters for Flax NNX, Equinox, Haiku and plain functions.

`__init__.pyi` lists the public names. An adapter imports its library when it is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
