"""A GAN trainer for JAX: the core. Importing it touches no device, reads no file and sets no flag.

Its names come with their first use, and JAX with them: so `gan-jax train` can be asked to stop before that.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .public import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "__all__":  # of `from gan_jax import *`
        return [name for name in __dir__() if name in vars(importlib.import_module("gan_jax.public"))]
    # Not `from . import public`, which would ask here for the attribute "public" first.
    if not name.startswith("_"):
        public = importlib.import_module("gan_jax.public")
        if hasattr(public, name):
            return getattr(public, name)
        if name in globals():  # a module of the core, that came with the import
            return globals()[name]
    raise AttributeError(f"module 'gan_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    public = importlib.import_module("gan_jax.public")
    return sorted({name for name in vars(public) if not name.startswith("_")} | set(globals()))
