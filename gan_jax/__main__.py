"""`python -m gan_jax` is `gan-jax`."""

import sys

from .cli import main

sys.exit(main())
