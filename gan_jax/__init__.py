"""A GAN trainer for JAX: the library. Importing it touches no device, reads no file and sets no flag.

`__init__.pyi` lists the public names. Each is imported when it is first used, and JAX with it.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
